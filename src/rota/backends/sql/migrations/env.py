"""Alembic's way in: runs the steps of `versions/` on the connection, and in the transaction, that `sql.layout` gives."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
