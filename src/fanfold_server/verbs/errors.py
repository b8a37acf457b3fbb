"""How the operator's commands tell what went wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def clear_errors() -> Iterator[None]:
    """Tell what went wrong in a line, without a traceback, where it is the operator's to mend."""
    from fanfold_server.model.errors import FanfoldError
    from fanfold_server.settings import SettingsError
    from fanfold_server.state import StoreUnusable

    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    except FanfoldError as exc:
        raise click.ClickException(exc.message) from exc
    except (SettingsError, StoreUnusable) as exc:
        raise click.ClickException(str(exc)) from exc
