"""`fanfold audit`: who did what, for whoever runs the server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from fanfold_server.verbs.errors import clear_errors
from fanfold_server.verbs.place import place_options, settings_of


@click.command()
@click.option("--actor", help="Only what this account did.")
@click.option("--action", help="Only such actions, as script.publish.")
@click.option("--target", help="Only what was done to this.")
@click.option("--since", type=click.DateTime(), help="At this time (UTC) or later.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True)
@place_options
def audit(
    *,
    actor: str | None,
    action: str | None,
    target: str | None,
    since: datetime | None,
    limit: int,
    **place: object,
) -> None:
    """Write the audit log to standard output, a line of JSON for each entry, the newest first."""
    from fanfold_server.model.audit import AuditFilter, actor_name
    from fanfold_server.state import open_existing_state

    which = AuditFilter(
        actor=actor_name(actor) if actor else None,
        action=action,
        target=target,
        since=since.replace(tzinfo=UTC) if since else None,
    )

    async def run() -> None:
        from fanfold_server.http.audit import written

        async with open_existing_state(settings) as store:
            for number, entry in await store.audit.entries(which, limit=limit):
                click.echo(written(number, entry), nl=False)

    with clear_errors():
        settings = settings_of(**place)
        asyncio.run(run())
