"""The command `fanfold demo`: its options. What it does is in `show.py`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("fanfold-demo"),
    show_default=True,
    help="Directory for the page and the images.",
)
@click.option(
    "--environment",
    metavar="PREFIX",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Environment in which the functions run; it needs seaborn.  "
    "[default: .environments/default of the checkout, else the server's own]",
)
@click.option("--stay", is_flag=True, help="Leave the server running at the end, until Ctrl-C.")
def demo(output: Path, environment: Path | None, stay: bool) -> None:
    """Show what fanfold does, on a throw-away server.

    Sends the documented examples with curl, compares the answers byte for byte, draws figures,
    and bootstraps a data set in parallel. Ends with status 1 where anything differs.
    """
    from fanfold_server.demo.show import show

    show(output, environment, stay=stay)
