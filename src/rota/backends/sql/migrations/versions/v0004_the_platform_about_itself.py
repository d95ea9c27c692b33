"""Revision 0004: what processes report of themselves, and the backups that were made, are records."""

import sqlalchemy as sa
from alembic import op

from rota.backends.sql.migrations.steps import record_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    if not sa.inspect(op.get_bind()).has_table("process_report"):  # made by code between the two layouts
        record_table("process_report", ["process"])
    record_table("backup", ["id"], texts=["state"], numbers=["began_us"])
    op.execute("UPDATE rota_schema SET version = 4")
