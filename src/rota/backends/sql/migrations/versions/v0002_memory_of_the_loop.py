"""Revision 0002: the memory of the loop. Tracked runs leave the records for tables of their own, models get owners and cards.

Old values keep their meaning: an experiment that was only a name becomes an experiment with that name, a JSON parameter
its text, a version's model a registered model, and where an alias stands the first entry of its history.
"""

from typing import Any

from alembic import op

from rota.backends.sql.migrations import tracked_runs
from rota.backends.sql.migrations.steps import bodies, index_field, insert_rows, key_of, record_table, text_of

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _new_records()
    tracked_runs.make_tables()
    tracked_runs.convert()
    op.drop_table("experiment_run")
    index_field("model_version", "owner", default="")
    index_field("model_version", "experiment_run", default="")
    _register_models()
    _begin_alias_histories()
    _guard_audit_log()
    op.execute("UPDATE rota_schema SET version = 2")


def _new_records() -> None:
    record_table("logged_model", ["id"], texts=["experiment", "run"], numbers=["created_us"])
    record_table("artifact_file", ["root", "path"], texts=["digest"])
    record_table("registered_model", ["name"], texts=["project", "owner"], numbers=["updated_us"])
    record_table("alias_move", ["model", "alias", "move"], numbers=["at_us", "number"])
    record_table("review_request", ["model", "number", "at_us"], texts=["state"])
    record_table("risk_answer", ["model", "number", "question", "at_us"])
    record_table("model_card", ["model", "number"])
    record_table("pickle_allowance", ["model"])
    record_table("note", ["node", "at_us", "author"])
    record_table("access_token", ["id"], texts=["hash", "holder"])
    record_table("use_case", ["name"])
    record_table("hold", ["node", "at_us"])
    record_table("unclaimed", ["table"])


def _register_models() -> None:
    """Every model that has versions, known since its first one."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for version in bodies("model_version"):
        model, at_us = version["model"], version["created_us"]
        first[model] = min(first.get(model, at_us), at_us)
        last[model] = max(last.get(model, at_us), at_us)
    rows = [
        {
            "name": model,
            "project": "default",
            "owner": "",
            "updated_us": last[model],
            "body": text_of({"name": model, "created_us": first[model], "updated_us": last[model]}),
        }
        for model in first
    ]
    insert_rows("registered_model", rows)


def _begin_alias_histories() -> None:
    insert_rows("alias_move", [_first_move(alias) for alias in bodies("alias")])


def _first_move(alias: dict[str, Any]) -> dict[str, Any]:
    """The stand of an alias; what moved it earlier is in the audit log."""
    move = {
        "model": alias["model"],
        "alias": alias["alias"],
        "move": 1,
        "number": alias["number"],
        "before": 0,
        "at_us": alias["since_us"],
        "actor": "",
        "reason": alias.get("reason", ""),
    }
    key = {"model": alias["model"], "alias": alias["alias"], "move": key_of(1)}
    return key | {"at_us": alias["since_us"], "number": alias["number"], "body": text_of(move)}


def _guard_audit_log() -> None:
    """The engine itself refuses to change the audit log, also by INSERT OR REPLACE and TRUNCATE."""
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE position = NEW.position)"
            " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION rota_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute("CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION rota_append_only()")
