"""What `fanfold demo` does, and what it prints."""

from __future__ import annotations

import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

import click

from fanfold_server.demo.curl import Curl, CurlFailed
from fanfold_server.demo.ending import Ending
from fanfold_server.demo.page import write_page
from fanfold_server.demo.server import ServerFailed, throw_away
from fanfold_server.demo.step import Different, Step
from fanfold_server.demo.steps import steps

_CHECKOUT = Path(__file__).parents[3]
_WIDTH = 100


def show(output: Path, environment: Path | None, *, stay: bool) -> None:
    """Take all steps; end the process with status 1 where an answer is not as documented.

    Args:
        output: where the page and the images go; made if it is not there.
        environment: prefix of the environment for the functions.
        stay: leave the server running until Ctrl-C.

    Raises:
        click.ClickException: there is no curl, no server, or no sensible answer.
    """
    program = shutil.which("curl")
    if program is None:
        raise click.ClickException("the demo speaks to its server by curl: install curl first")
    output.mkdir(parents=True, exist_ok=True)
    prefix = environment.absolute() if environment else _engine_environment()
    taken: list[Step] = []
    ending = Ending()
    try:
        with ending.opened(), tempfile.TemporaryDirectory(prefix="fanfold-demo-") as name:
            folder = Path(name)
            _say("Starting a throw-away server …")
            with throw_away(folder, environment=prefix, ending=ending) as server:
                home = folder / "home"
                home.mkdir()
                curl = Curl(program, url=server.url, folder=output, home=home)
                _say(f"It is ready at {server.url} with the account {server.user}.")
                for take in steps(curl, user=server.user, password=server.password, folder=output):
                    with ending.interruptible():
                        taken.append(take())
                        _show(len(taken), taken[-1])
                _keep(taken, output)
                if stay:
                    _say_how_to_go_on(server.url, curl.token, output)
                    ending.wait()
                    _say()
    except (ServerFailed, CurlFailed, Different) as exc:
        raise click.ClickException(str(exc)) from exc
    sys.exit(_judge(taken))


def _engine_environment() -> Path:
    """Find the environment that `make setup` made; without a checkout, our own."""
    made = _CHECKOUT / ".environments" / "default"
    return made if made.is_dir() else Path(sys.prefix)


# -------------------------------------------------------------------------------- what is printed


def _show(number: int, step: Step) -> None:
    _say()
    _say(click.style(f"{number}  {step.title}", bold=True))
    _say(textwrap.fill(step.about, _WIDTH - 3), indent=3)
    _say()
    _say(click.style("$ ", fg="cyan") + step.request, indent=3)
    _say(_wrapped(step.answer), indent=3)
    for finding in step.findings:
        mark = click.style("✓", fg="green") if finding.is_right else click.style("✗", fg="red")
        _say(f"{mark} {finding.text}", indent=3)


def _keep(taken: list[Step], output: Path) -> None:
    """Write the images and the page."""
    names = []
    for picture in (picture for step in taken for picture in step.pictures):
        (output / picture.name).write_bytes(picture.png)
        names.append(picture.name)
    page = output / "index.html"
    page.write_text(write_page(taken), encoding="utf-8")
    _say()
    _say(click.style("What is kept", bold=True))
    _say(f"{page}  the page that shows all this", indent=3)
    for name in names:
        _say(f"{output / name}", indent=3)


def _say_how_to_go_on(url: str, token: str | None, output: Path) -> None:
    _say()
    _say(click.style("Try it yourself", bold=True))
    _say(f"export TOKEN={token}", indent=3)
    _say(f"cd {output}", indent=3)
    _say(f"{url}/docs is the reference; Ctrl-C stops the server.", indent=3)


def _judge(taken: list[Step]) -> int:
    wrong = [finding.text for step in taken for finding in step.findings if not finding.is_right]
    _say()
    if wrong:
        click.secho(
            f"{len(wrong)} of the answers differ from what is documented:", fg="red", err=True
        )
        for text in wrong:
            click.echo(f"   ✗ {text}", err=True)
        return 1
    _say(click.style("Everything is as documented.", fg="green", bold=True))
    return 0


def _wrapped(text: str) -> str:
    """Cut JSON into lines; it has few places where words end."""
    return "\n".join(text[at : at + _WIDTH - 3] for at in range(0, len(text), _WIDTH - 3))


def _say(text: str = "", *, indent: int = 0) -> None:
    """Write to standard output at once: another process may be reading along."""
    click.echo(textwrap.indent(text, " " * indent))
