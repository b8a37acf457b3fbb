"""What Alembic runs: the revisions, in the transaction that `store/migrating.py` has opened."""

from __future__ import annotations

from alembic import context

from fanfold_server.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
    transactional_ddl=True,
)
context.run_migrations()
