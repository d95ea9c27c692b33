"""Revision 0001: the layout of the first stores, in which an experiment run was a record among others. Only SQLite knew it."""

import sqlalchemy as sa
from alembic import op

from rota.backends.sql.migrations.steps import NUMBER, POSITION, TEXT, record_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    _records()
    _history()
    _runs()
    op.create_table("rota_schema", sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))
    op.bulk_insert(sa.table("rota_schema", sa.column("version", sa.Integer)), [{"version": 1}])


def _records() -> None:
    record_table("source", ["name"])
    record_table("intake", ["source", "writer"])
    record_table("seen_file", ["source", "file"])
    record_table("ingestion", ["source", "number"], texts=["status"], numbers=["at_us"])
    record_table("feature_view", ["name"])
    record_table("on_demand_feature_view", ["name"])
    record_table("feature_view_version", ["name", "number"], numbers=["created_us"])
    record_table("feature_service", ["name"])
    record_table("dataset", ["name"])
    record_table("schema", ["name", "version"], numbers=["frozen_us"])
    record_table("dataset_version", ["name", "number"], numbers=["created_us"])
    record_table("pipeline_release", ["digest"], texts=["project"], numbers=["created_us"])
    record_table("deployed", ["pipeline", "environment"], numbers=["since_us"])
    record_table("experiment_run", ["id"], texts=["experiment"], numbers=["started_us"])
    record_table("model_version", ["model", "number"], texts=["status", "run"], numbers=["created_us"])
    record_table("alias", ["model", "alias"], numbers=["since_us"])
    record_table("approval", ["model", "number", "at_us"], texts=["decision"])
    record_table("release_policy", ["model"])
    record_table("endpoint", ["name"], texts=["model"])
    record_table("release", ["endpoint", "revision"], numbers=["since_us"])
    record_table("serving", ["endpoint", "process"], numbers=["at_us"])
    record_table("rollout", ["id"], texts=["endpoint", "state"], numbers=["started_us"])
    record_table("alert", ["id"], texts=["endpoint", "kind", "status"], numbers=["raised_us"])
    record_table("monitor", ["endpoint_name"])
    record_table("monitor_slice", ["endpoint", "start_us"], numbers=["end_us"])
    record_table("cursor", ["consumer"])
    record_table("schedule_state", ["name"], numbers=["last_us"])


def _history() -> None:
    op.create_table(
        "events",
        sa.Column("position", POSITION, primary_key=True, autoincrement=True),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "edges",
        sa.Column("cause", TEXT, primary_key=True),
        sa.Column("effect", TEXT, primary_key=True),
        sa.Column("at_us", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("edges_effect", "edges", ["effect", "cause"])
    op.create_table(
        "audit",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("previous", "hash", "body")),
    )
    if op.get_context().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END")


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("position", POSITION, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("workflow", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("created_us", NUMBER, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_us", NUMBER),
        sa.Column("ended_us", NUMBER),
        sa.Column("wake_us", NUMBER, nullable=False),
        sa.Column("waiting_for", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("fence", NUMBER, nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("signalled", sa.Boolean, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
    )
    op.create_index("ix_runs_fence", "runs", ["fence"])
    op.create_index("runs_open", "runs", ["ended", "created_us", "position"])
    op.create_index("runs_created", "runs", ["created_us", "position"])
    op.create_index("runs_subject", "runs", ["workflow", "subject", "created_us"])
    op.create_table(
        "steps",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "signals",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("payload", sa.Text, nullable=False),
    )
