"""`fanfold job …`: look at jobs, wait for them, take them up again."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path

import click

from fanfold.cli.results import save_images, save_results, write_result
from fanfold.cli.talking import (
    Status,
    say,
    talk,
    with_client,
    with_json,
    write_json,
    write_rows,
)
from fanfold.client import Client
from fanfold.progress import duration
from fanfold.records import JobInfo

_STATES = click.Choice(
    ["queued", "running", "succeeded", "partly_failed", "failed", "cancelled", "timed_out"]
)
_id = click.argument("job_id", metavar="ID")


@click.group()
def job() -> None:
    """Look at jobs, wait for them, take them up again."""


@job.command("list")
@click.option("--state", type=_STATES, help="In this state.")
@click.option("--script", help="Of this script.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@with_json
@with_client
def list_(
    client: Client, *, state: str | None, script: str | None, limit: int, as_json: bool
) -> None:
    """List your jobs, the newest first."""
    found = list(islice(client.jobs.list(state, script), limit))
    if as_json:
        write_json([asdict(info) for info in found])
        return
    write_rows(
        ("id", "state", "script", "done", "failed", "created", "comments"),
        (
            (
                info.id,
                info.state,
                info.script["name"],
                f"{info.returned + info.failed}/{info.times}",
                info.failed,
                info.created,
                info.comments,
            )
            for info in found
        ),
    )


@job.command()
@_id
@with_json
@with_client
def show(client: Client, *, job_id: str, as_json: bool) -> None:
    """Say how the job ID stands."""
    info = client.job(job_id).info()
    if as_json:
        write_json(asdict(info))
    else:
        click.echo(told(info))


@job.command()
@_id
@with_json
@with_client
def watch(client: Client, *, job_id: str, as_json: bool) -> None:
    """Follow the job ID to its end. Ctrl-C asks whether to leave or to cancel it."""
    info = client.job(job_id).wait()
    if as_json:
        write_json(asdict(info))
    talk(told(info))
    click.get_current_context().exit(ended(info))


@job.command()
@_id
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--images", type=click.Path(path_type=Path), help="Write figures to this folder.")
@with_json
@with_client
def result(
    client: Client, *, job_id: str, out: Path | None, images: Path | None, as_json: bool
) -> None:
    """Wait for the job ID, and write its values.

    The form of --out follows from its ending: .json, .ndjson, .csv, .parquet, .arrow.
    """
    handle = client.job(job_id)
    info = handle.wait()
    if images is not None:
        save_images(handle.images(), images)
    if out is not None:
        save_results(handle, out)
    else:
        answer = client.using(raw=True).job(job_id).result()
        write_result(info.verb, answer, graphics=info.graphics, as_json=as_json)
    click.get_current_context().exit(ended(info))


@job.command()
@_id
@click.option("--index", type=int, help="Of this call alone.")
@click.option("--follow", is_flag=True, help="Of each call when it ends, to the job's end.")
@with_json
@with_client
def logs(client: Client, *, job_id: str, index: int | None, follow: bool, as_json: bool) -> None:
    """Write what the calls of the job ID printed."""
    handle = client.job(job_id)
    for outcome in handle.ended() if follow else handle.outcomes():
        if outcome.log and index in {None, outcome.index}:
            if as_json:
                write_json({"index": outcome.index, "log": outcome.log})
                continue
            for line in outcome.log.rstrip("\n").split("\n"):
                click.echo(f"[{outcome.index}] {line}")


@job.command()
@_id
@with_json
@with_client
def errors(client: Client, *, job_id: str, as_json: bool) -> None:
    """Group the failed calls of the job ID by class, line and message."""
    groups = client.job(job_id).errors()
    if as_json:
        write_json([asdict(group) for group in groups])
        return
    write_rows(
        ("count", "error", "message", "line", "calls"),
        ((g.count, g.type, g.message, g.line, ", ".join(map(str, g.sample))) for g in groups),
    )


@job.command()
@_id
@with_json
@with_client
def cancel(client: Client, *, job_id: str, as_json: bool) -> None:
    """Stop the job ID; what has finished stays."""
    info = client.job(job_id).cancel()
    say(told(info), asdict(info), as_json=as_json)


@job.command()
@_id
@with_json
@with_client
def delete(client: Client, *, job_id: str, as_json: bool) -> None:
    """Forget the job ID with all that it stored."""
    client.job(job_id).delete()
    say(f"deleted {job_id}", {"deleted": job_id}, as_json=as_json)


@job.command()
@_id
@with_json
@with_client
def resume(client: Client, *, job_id: str, as_json: bool) -> None:
    """Make a job that runs what failed or is missing of the job ID; writes its id."""
    _write_id(client.job(job_id).resume().id, as_json=as_json)


@job.command()
@_id
@click.argument("times", type=click.IntRange(1))
@with_json
@with_client
def extend(client: Client, *, job_id: str, times: int, as_json: bool) -> None:
    """Make a job of TIMES calls that keeps the values of the job ID; writes its id."""
    _write_id(client.job(job_id).extend(times).id, as_json=as_json)


def _write_id(job_id: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"id": job_id})
    else:
        click.echo(job_id)


def told(info: JobInfo) -> str:
    """Say in a line how a job stands."""
    done = info.returned + info.failed
    parts = [f"{info.script['name']}: {info.state}, {done:,} of {info.times:,} calls"]
    if info.failed:
        parts.append(f"{info.failed:,} failed")
    if info.elapsed_s is not None:
        parts.append(duration(info.elapsed_s))
    if info.rate_per_s:
        parts.append(f"{info.rate_per_s:,.1f} calls/s")
    if info.eta:
        parts.append(f"{duration(info.eta['seconds'])} left")
    return ", ".join(parts)


def ended(info: JobInfo) -> int:
    """Say with which status a command ends that has waited for a job."""
    return int(Status.DONE if info.state == "succeeded" else Status.FAILED)
