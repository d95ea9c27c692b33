"""Runs: created, nested, ended, renamed, deleted, restored."""

import mlflow
from mlflow.entities import RunTag


def steps(said, client, known):
    with mlflow.start_run(run_name="one", tags={"a": "b"}, description="the first") as run:
        known.run = said.named(run.info.run_id, "one")
        said.step("while it runs", lambda: client.get_run(known.run))
    said.step("when it has ended", lambda: client.get_run(known.run).info)
    said.step("the whole of it", lambda: client.get_run(known.run))
    made = said.step(
        "create with a moment", lambda: client.create_run(known.experiment, start_time=1_000, tags={"x": "y"}, run_name="two").info.run_name
    )
    assert made == "two"
    said.step("created without a name has one", lambda: len(client.create_run(known.experiment).info.run_name) > 0)
    said.step("named by its tag", lambda: client.create_run(known.experiment, tags={"mlflow.runName": "tagged"}).info.run_name)
    said.step("named twice", lambda: client.create_run(known.experiment, run_name="a", tags={"mlflow.runName": "b"}))
    said.step("named twice alike", lambda: client.create_run(known.experiment, run_name="a", tags={"mlflow.runName": "a"}).info.run_name)
    said.step("in an experiment nobody has", lambda: client.create_run("123456"))
    said.step("get of nobody's", lambda: client.get_run("f" * 32))
    said.step("get of no id", lambda: client.get_run(""))
    said.step("get of what is no id", lambda: client.get_run("../../etc/passwd"))
    _nested(said, client, known)
    _endings(said, client, known)
    _deleted(said, client, known)


def _nested(said, client, known):
    with mlflow.start_run(run_name="parent") as parent, mlflow.start_run(run_name="child", nested=True) as child:
        pass
    known.parent, known.child = said.named(parent.info.run_id, "parent"), said.named(child.info.run_id, "child")
    said.step("a child's tags", lambda: client.get_run(known.child).data.tags)
    said.step("the parent by the child", lambda: client.get_parent_run(known.child).info.run_name)
    said.step("the parent's parent", lambda: client.get_parent_run(known.parent))

    def breaks():
        with mlflow.start_run(run_name="broken") as run:
            said.named(run.info.run_id, "broken")
            known.broken = run.info.run_id
            raise KeyError

    said.step("an error within a run", breaks)
    said.step("fails it", lambda: client.get_run(known.broken).info)


def _endings(said, client, known):
    run = said.named(client.create_run(known.experiment, start_time=1_000, run_name="ends").info.run_id, "ends")
    for status in ("SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"):
        said.step(f"update to {status}", lambda status=status: (client.update_run(run, status=status), client.get_run(run).info.status)[1])
    said.step("terminated at a moment", lambda: (client.set_terminated(run, "FINISHED", 2_000), client.get_run(run).info)[1])
    said.step("an unknown status", lambda: client.update_run(run, status="SLEEPING"))
    said.step("renamed", lambda: (client.update_run(run, name="renamed"), client.get_run(run).data.tags)[1])
    said.step("renamed by its tag", lambda: (client.set_tag(run, "mlflow.runName", "again"), client.get_run(run).info.run_name)[1])
    said.step("renamed in a batch", lambda: (client.log_batch(run, tags=[RunTag("mlflow.runName", "third")]), client.get_run(run).info.run_name)[1])
    said.step("update of nobody's", lambda: client.update_run("f" * 32, name="x"))
    with mlflow.start_run(run_id=run):
        pass
    said.step("begun again and ended", lambda: client.get_run(run).info)


def _deleted(said, client, known):
    run = said.named(client.create_run(known.experiment, run_name="deleted").info.run_id, "deleted")
    client.log_metric(run, "m", 1.0, 1_000)
    said.step("delete", lambda: client.delete_run(run))
    said.step("delete twice", lambda: client.delete_run(run))
    said.step("it is shown", lambda: client.get_run(run))
    for label, act in (
        ("metric", lambda: client.log_metric(run, "n", 1.0)),
        ("parameter", lambda: client.log_param(run, "n", 1)),
        ("tag", lambda: client.set_tag(run, "n", "1")),
        ("batch", lambda: client.log_batch(run, tags=[RunTag("n", "1")])),
        ("status", lambda: client.update_run(run, status="FINISHED")),
        ("name", lambda: client.update_run(run, name="x")),
        ("tag's deletion", lambda: client.delete_tag(run, "n")),
        ("start", lambda: mlflow.start_run(run_id=run)),
    ):
        said.step(f"deleted: no {label}", act)
    mlflow.end_run()
    said.step("its history is read", lambda: [each.value for each in client.get_metric_history(run, "m")])
    said.step("restore", lambda: client.restore_run(run))
    said.step("restore twice", lambda: client.restore_run(run))
    said.step("it lives", lambda: client.get_run(run).info)
    said.step("delete of nobody's", lambda: client.delete_run("f" * 32))
    said.step("restore of nobody's", lambda: client.restore_run("f" * 32))
