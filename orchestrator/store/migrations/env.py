"""What alembic runs: on the connection, and in the transaction, of the one who called it."""

from alembic import context

from orchestrator.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite changes a column only by making the table anew
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
