"""What alembic runs for each of its commands: it works on the connection and in the transaction that it is given."""

from alembic import context

from quandary_server.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
