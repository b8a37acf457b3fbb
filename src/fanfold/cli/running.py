"""`fanfold run`: run a stored function, or the one in a file; here with --local."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fanfold.cli import local as here
from fanfold.cli.jobs import ended, told
from fanfold.cli.results import form_of, save_images, save_results, write_result
from fanfold.cli.talking import Status, client_for, talk, with_json
from fanfold.cli.texts import script_text
from fanfold.client import Client
from fanfold.faults import Detached
from fanfold.jobs import Job
from fanfold.transport import Blocking
from fanfold.uploads import FORMS, TEXT_FORMS
from fanfold.values import decode, images_in

_ALL = "all"
_OF_JOBS = ("detached", "follow", "logs", "out", "result_table")
"""Options that make a run a job."""
_FOR_SERVERS = (
    "detached",
    "follow",
    "logs",
    "environment",
    "owner",
    "script_version",
    "service",
    "source",
    "result_table",
    "timeout",
    "call_timeout",
)


@click.command()
@click.argument("script")
@click.option("--times", type=click.IntRange(1), metavar="N", help="Run it N times: index-apply.")
@click.option(
    "--data",
    metavar="QUERY|FILE",
    help="Give it rows: a SELECT, a table's name, or a file (.csv, .parquet, .ndjson, .arrow).",
)
@click.option(
    "--charset",
    help="Of a file of text, such as windows-1252.  [default: UTF-8, or its byte order mark's]",
)
@click.option("--rows", type=click.IntRange(1), metavar="N", help="… by chunks of N: row-apply.")
@click.option("--group-by", metavar="COLUMNS", help="… by groups: group-apply.")
@click.option("--order-by", metavar="COLUMNS", help="Sort the input of groups first.")
@click.option(
    "--parallel",
    is_flag=False,
    flag_value=_ALL,
    metavar="[N]",
    help="Run calls in parallel: N, or as many as the service level allows.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument; JSON where it reads as such, else text. May be repeated.",
)
@click.option("--seed", type=click.IntRange(0), help="What all randomness follows from.")
@click.option("--env", "environment", metavar="NAME", help="The environment to run in.")
@click.option("--source", metavar="NAME", help="The registered database that --data asks.")
@click.option("--service", metavar="LEVEL", help="LOW, MEDIUM, HIGH, TP or TPURGENT.")
@click.option("--owner", help="Whose script.")
@click.option("--script-version", type=click.IntRange(1), metavar="N", help="Of the script.")
@click.option(
    "--continue", "goes_on", is_flag=True, help="Go on when a call fails; its value is null."
)
@click.option("--timeout", type=int, metavar="S", help="Of a job: seconds that it may take.")
@click.option("--call-timeout", type=float, metavar="S", help="Of a job: seconds for one call.")
@click.option("--comments", help="Of a job: what it is for.")
@click.option("--async", "detached", is_flag=True, help="Submit a job, write its id, and end.")
@click.option("--follow", is_flag=True, help="Run it as a job, and follow that to its end.")
@click.option("--logs", is_flag=True, help="… and tell what each call printed, when it ends.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the values to a file: .json, .ndjson, .csv, .parquet, .arrow.",
)
@click.option(
    "--result-table", metavar="NAME", help="Write the result as a table, for later queries."
)
@click.option("--overwrite", is_flag=True, help="… in place of one of that name.")
@click.option("--images", type=click.Path(path_type=Path), help="Write figures to this folder.")
@click.option("--local", is_flag=True, help="Run the function of a file here, without a server.")
@click.option(
    "--python", metavar="PATH", help="With --local: the interpreter.  [default: this one]"
)
@click.option("--url", help="The server's address.  [FANFOLD_URL, else the profile's]")
@click.option("--token", help="A token of that server.  [FANFOLD_TOKEN, else the profile's]")
@click.option("--profile", help="The login to use.  [FANFOLD_PROFILE, else default]")
@with_json
def run(script: str, *, as_json: bool, local: bool, **told_: Any) -> None:
    """Run SCRIPT: the name of a stored function, or a file that holds one.

    Once; with --times N times, with 1, 2, … as first argument; with --data on rows. The values go
    to standard output, one line for each call.
    """
    _check(local=local, **told_)
    if local:
        _run_here(script, as_json=as_json, **told_)
        return
    with client_for(told_["url"], told_["token"], told_["profile"]) as client:
        _run_there(client, script, as_json=as_json, **told_)


def _run_there(client: Client, script: str, *, as_json: bool, **told_: Any) -> None:
    if script.endswith(".py") and not _is_file(script):
        raise click.UsageError(
            f"there is no file {script} here. A stored function is named without .py: fanfold "
            "script list; a file to start from is written by: fanfold new."
        )
    func = script_text(Path(script)) + "\n" if _is_file(script) else script
    images, out = told_["images"], told_["out"]
    runs = client.using(
        raw=True,
        environment=told_["environment"],
        service=told_["service"],
        seed=told_["seed"],
        version=told_["script_version"],
        on_error="continue" if told_["goes_on"] else None,
        timeout_s=told_["timeout"],
        call_timeout_s=told_["call_timeout"],
        comments=told_["comments"],
        source=told_["source"],
        charset=told_["charset"],
        result_table=_table(told_),
    )
    verb, arguments = _call(told_)
    arguments |= {"func": func, "func_owner": told_["owner"], "graphics": images is not None}
    arguments |= parameters(told_["params"])
    if not any(told_[name] for name in _OF_JOBS):
        answer = getattr(runs, verb)(**arguments)
        _finish(verb.replace("_", "-"), answer, images, as_json=as_json)
        return
    job = getattr(runs.background, verb)(**arguments)
    if told_["detached"]:
        talk(f"job {job.id} goes on; to follow it: fanfold job watch {job.id}")
        click.echo(json.dumps({"id": job.id}) if as_json else job.id)
        return
    talk(f"job {job.id}")
    if told_["logs"]:
        _tell_logs(job)
    info = job.wait()
    talk(told(info))
    if images is not None:
        save_images(job.images(), images)
    if out is not None and out.suffix.lower() != ".json":
        save_results(job, out)
        if told_["result_table"]:
            job.result()  # says why there is no table
    else:
        answer = job.result()
        if out is not None:
            out.write_text(json.dumps(answer) + "\n", encoding="utf-8")
            talk(f"wrote {out}")
        else:
            write_result(info.verb, answer, graphics=info.graphics, as_json=as_json)
    if told_["result_table"]:
        talk(f"wrote the table {told_['result_table']}")
    click.get_current_context().exit(ended(info))


def _tell_logs(job: Job[Blocking]) -> None:
    """Tell what calls print, as they end."""
    try:
        for outcome in job.ended():
            for line in filter(None, outcome.log.rstrip("\n").split("\n")):
                talk(f"[{outcome.index}] {line}")
    except KeyboardInterrupt:
        raise Detached(
            f"Job {job.id} goes on. To follow it: fanfold job watch {job.id}; to end it: fanfold "
            f"job cancel {job.id}.",
            details={"job": job.id},
        ) from None


def _run_here(script: str, *, as_json: bool, **told_: Any) -> None:
    """Run a file's function in a process of this machine, by the server's own runtime."""
    if not _is_file(script):
        raise click.UsageError(
            f"there is no file {script} here: --local runs a file's function, such as simulate.py."
        )
    images, out = told_["images"], told_["out"]
    verb, answer = here.run(
        Path(script),
        times=told_["times"],
        data=_local_data(told_),
        parallel=_degree(told_["parallel"]),
        parameters=parameters(told_["params"]),
        seed=told_["seed"],
        graphics=images is not None,
        goes_on=told_["goes_on"],
        python=told_["python"],
    )
    if out is not None:
        out.write_text(json.dumps(answer) + "\n", encoding="utf-8")
        talk(f"wrote {out}")
        return
    _finish(verb, answer, images, as_json=as_json)


def _finish(verb: str, answer: dict[str, Any], images: Path | None, *, as_json: bool) -> None:
    """Write what a run gave, and its figures."""
    graphics = images is not None
    if images is not None:
        decoded = decode(verb, answer["result"], graphics=True, frames=False)
        save_images(images_in(decoded), images)
    write_result(verb, answer, graphics=graphics, as_json=as_json)
    if answer.get("errors"):
        click.get_current_context().exit(int(Status.FAILED))


def _check(*, local: bool, **told_: Any) -> None:
    """Refuse what does not go together, before anything is sent."""
    _check_data(**told_)
    if told_["overwrite"] and told_["result_table"] is None:
        raise click.UsageError(
            "--overwrite says how a table is written: name it with --result-table."
        )
    if told_["out"] is not None:
        form = form_of(told_["out"])
        if local and form != "application/json":
            raise click.UsageError("With --local, --out writes .json.")
    if local:
        if told_["data"] is not None and not _is_data(told_["data"]):
            raise click.UsageError(
                f"With --local, --data is a file: {', '.join(FORMS)}. A query needs a server."
            )
        for name in _FOR_SERVERS:
            if told_[name]:
                flag = {"detached": "async", "environment": "env"}.get(name, name.replace("_", "-"))
                raise click.UsageError(f"--{flag} needs a server, and --local has none.")


def _check_data(**told_: Any) -> None:
    """Refuse what does not go with the rows, or with none."""
    if told_["times"] is not None and told_["data"] is not None:
        raise click.UsageError("--times and --data do not go together: indexes, or rows.")
    for name in ("rows", "group_by", "order_by"):
        if told_[name] is not None and told_["data"] is None:
            flag = "--" + name.replace("_", "-")
            raise click.UsageError(f"{flag} says how rows are cut: say which with --data.")
    if told_["rows"] is not None and told_["group_by"] is not None:
        raise click.UsageError("--rows and --group-by do not go together: chunks, or groups.")
    if told_["charset"] is not None and not _is_text(told_["data"]):
        raise click.UsageError("--charset is of a file of text: give --data a .csv or .ndjson.")


def _call(told_: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Say which of the five ways is meant, and what it is given."""
    degree = {"parallel": _degree(told_["parallel"])}
    if told_["times"] is not None:
        return "index_apply", {"times": told_["times"], **degree}
    if told_["data"] is None:
        return "do_eval", {}
    data = {"data": Path(told_["data"]) if _is_data(told_["data"]) else told_["data"]}
    if told_["group_by"] is not None:
        order = {"orderby": told_["order_by"]}
        return "group_apply", {**data, "index": told_["group_by"], **order, **degree}
    if told_["rows"] is not None:
        return "row_apply", {**data, "rows": told_["rows"], **degree}
    return "table_apply", data


def parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE; a value that is JSON is taken as such, anything else as text.

    Raises:
        BadParameter: there is no "=", or the name is none.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(
                f'"{text}" should be NAME=VALUE, such as points=1000.', param_hint="--param"
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _degree(parallel: str | None) -> bool | int | None:
    if parallel is None:
        return None
    if parallel == _ALL:
        return True
    try:
        return int(parallel)
    except ValueError as exc:
        raise click.BadParameter(
            f'"{parallel}" is no number. To name a script after it, write --parallel last.',
            param_hint="--parallel",
        ) from exc


def _table(told_: dict[str, Any]) -> dict[str, object] | None:
    if told_["result_table"] is None:
        return None
    return {"name": told_["result_table"], "overwrite": told_["overwrite"]}


def _local_data(told_: dict[str, Any]) -> here.Data | None:
    if told_["data"] is None:
        return None
    by, order = told_["group_by"] or "", told_["order_by"] or ""
    charset = told_["charset"] or ""
    return here.Data(Path(told_["data"]), told_["rows"], by, order, charset)


def _is_data(data: str) -> bool:
    """Tell a file of rows from a query and from a table's name."""
    return Path(data).suffix.lower() in FORMS and Path(data).is_file()


def _is_text(data: str | None) -> bool:
    return data is not None and _is_data(data) and FORMS[Path(data).suffix.lower()] in TEXT_FORMS


def _is_file(script: str) -> bool:
    return script.endswith(".py") and Path(script).is_file()
