"""Revision 0005: endpoints that somebody unloaded, and how much prediction processes log: records."""

from alembic import op

from rota.backends.sql.migrations.steps import record_table

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    record_table("unloaded", ["endpoint"])
    record_table("serving_log_level", ["name"])
    op.execute("UPDATE rota_schema SET version = 5")
