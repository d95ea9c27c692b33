"""Revision 0004: what processes report of themselves, how far sources are online, backups, versions out of service, sessions: records."""

import sqlalchemy as sa
from alembic import op

from rota.backends.sql.migrations.steps import record_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    there = sa.inspect(op.get_bind()).get_table_names()
    for table, key in (("process_report", ["process"]), ("online_extent", ["source"]), ("arrival_count", ["pipeline", "source"])):
        if table not in there:  # code between the two layouts made it
            record_table(table, key)
    record_table("backup", ["id"], texts=["state"], numbers=["began_us"])
    record_table("session", ["id"], texts=["hash", "token"], numbers=["created_us"])
    record_table("out_of_service", ["bundle"], texts=["model"])
    op.execute("UPDATE rota_schema SET version = 4")
