"""Files of runs: logged in every way the client has, listed, read back, missing."""

import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

ODD = ("50% é.txt", "a b.txt", "plus+and&.txt", "hash#1.txt", "semi;colon.txt", "quote'.txt")


def steps(said, client, known):
    with mlflow.start_run(run_name="files") as run:
        known.files = said.named(run.info.run_id, "files")
        said.step("text", lambda: mlflow.log_text("hello", "notes/a.txt"))
        said.step("dict", lambda: mlflow.log_dict({"k": [1, "é"]}, "d.json"))
        said.step("yaml", lambda: mlflow.log_dict({"k": 1}, "deep/er/d.yaml"))
        said.step("table", lambda: mlflow.log_table({"a": [1, 2], "b": ["x", "y"]}, "table.json"))
        said.step("table grows", lambda: mlflow.log_table(pd.DataFrame({"a": [3], "b": ["z"]}), "table.json"))
        said.step("figure", lambda: mlflow.log_figure(Figure(), "plots/empty.png"))
        said.step("image", lambda: mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "plots/black.png"))
        said.step("image at a step", lambda: mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), key="seen", step=1, synchronous=True))
        _logged(said, client)
    _listed(said, client, known.files)
    _read(said, client, known.files)
    _wrong(said, client, known)


def _logged(said, client):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sub", "subsub").mkdir(parents=True)
        Path(folder, "sub", "big.bin").write_bytes(bytes(range(256)) * 12_000)
        Path(folder, "sub", "subsub", "deep.txt").write_text("deep")
        Path(folder, "empty.bin").write_bytes(b"")
        for name in ODD:
            Path(folder, name).write_text(name)
        said.step("a folder", lambda: mlflow.log_artifacts(folder, "dir"))
        said.step("a folder at the root", lambda: mlflow.log_artifacts(f"{folder}/sub/subsub"))
        said.step("one file", lambda: mlflow.log_artifact(f"{folder}/sub/subsub/deep.txt", "one"))
        said.step("one file again", lambda: mlflow.log_artifact(f"{folder}/sub/subsub/deep.txt", "one"))
        said.step("what is not there", lambda: mlflow.log_artifact(f"{folder}/nothing"))


def _listed(said, client, run):
    def listed(folder=None):
        return [(each.path, each.is_dir, each.path.endswith("png") or each.file_size or None) for each in client.list_artifacts(run, folder)]

    for folder in (None, "", "dir", "dir/sub", "dir/", "deep", "plots", "d.json", "nothing", "dir/nothing", "images"):
        said.step(f"list {folder!r}", lambda folder=folder: len(listed(folder)) if folder == "images" else listed(folder))
    for folder in ("..", "../..", "/etc", "dir/../..", "%2e%2e", "dir/%2e%2e/%2e%2e"):
        said.step(f"list {folder!r}", lambda folder=folder: listed(folder))


def _read(said, client, run):
    said.step("a text", lambda: mlflow.artifacts.load_text(f"runs:/{run}/notes/a.txt"))
    said.step("a dict", lambda: mlflow.artifacts.load_dict(f"runs:/{run}/d.json"))
    said.step("a table", lambda: mlflow.load_table("table.json", run_ids=[run])[["a", "b"]].to_dict("list"))
    said.step("an image", lambda: mlflow.artifacts.load_image(f"runs:/{run}/plots/black.png").size)
    with tempfile.TemporaryDirectory() as folder:

        def came():
            found = Path(client.download_artifacts(run, "dir", folder))
            return sorted((str(each.relative_to(found)), each.stat().st_size) for each in found.rglob("*") if each.is_file())

        said.step("a folder", came)
        said.step("odd names came whole", lambda: [Path(folder, "dir", name).read_text() == name for name in ODD])
        said.step("the large file came whole", lambda: Path(folder, "dir", "sub", "big.bin").read_bytes() == bytes(range(256)) * 12_000)
        for path in ("nothing", "dir/nothing", "../secret", "dir/../../x", "/etc/passwd", "%2e%2e/x"):
            said.step(f"download {path!r}", lambda path=path: Path(client.download_artifacts(run, path, folder)).name)
    root = client.get_run(run).info.artifact_uri
    said.step("by the file's own address", lambda: mlflow.artifacts.load_text(f"{root}/notes/a.txt"))
    said.step("the root", lambda: root)


def _wrong(said, client, known):
    said.step("list of nobody's run", lambda: client.list_artifacts("f" * 32))
    said.step("download of nobody's", lambda: client.download_artifacts("f" * 32, "x"))
    said.step("log to nobody's", lambda: client.log_text("f" * 32, "x", "x.txt"))
    for path in ("../x.txt", "/x.txt", "a/../../x.txt"):
        said.step(f"log as {path!r}", lambda path=path: client.log_text(known.files, "x", path))
    run = client.create_run(known.experiment, run_name="deleted files").info.run_id
    said.named(run, "deleted files")
    client.log_text(run, "x", "x.txt")
    client.delete_run(run)
    said.step("of a deleted run", lambda: [each.path for each in client.list_artifacts(run)])
