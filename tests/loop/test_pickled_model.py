"""A model of no framework goes through training and serving only where somebody allowed pickle for it."""

from pathlib import Path
from typing import Any

import pytest

from rota.errors import Refused
from rota.manage.models import loading, pickle_signing
from rota.records.model import ModelBundle
from rota.records.record import decode, encode

OWN = '''
class Frequencies:
    """Remembers how often each text of the last column came with a 1."""

    def fit(self, x, y):
        self.shares = {float(code): float(y[x[:, -1] == code].mean()) for code in set(x[:, -1].tolist())}
        return self

    def predict(self, x):
        import numpy
        return numpy.array([self.shares.get(float(code), 0.5) for code in x[:, -1]])


@rota.step
def train(data: rota.TrainingData, rounds: int = 30) -> Frequencies:
    return Frequencies().fit(data.train.x, data.train.y)
'''


def with_own_model(world: Any, tmp_path: Path) -> None:
    text = (tmp_path / "project" / "project.py").read_text()
    begin, end = text.index("@rota.step"), text.index("pipeline = rota.TrainingPipeline")
    (tmp_path / "project" / "project.py").write_text((text[:begin] + OWN + "\n\n" + text[end:]).replace('"roc_auc", 0.6', '"roc_auc", 0.1'))
    world.platform.projects.apply(tmp_path / "project" / "project.py")
    world.history(3)


def test_training_is_refused_until_pickle_is_allowed_and_then_the_model_serves_with_its_seal(world: Any, tmp_path: Path) -> None:
    with_own_model(world, tmp_path)
    refused = world.train()
    assert refused.status == "failed"
    assert "rota models allow-pickle" in refused.error
    assert world.versions() == []
    pickle_signing.allow(world.metadata, "ice", actor="eve", reason="ours", now_us=world.clock.now_us())
    world.clock.advance(world.clock.now_us() + 1)
    run = world.train()
    assert run.status == "succeeded", run.error
    (version,) = world.versions()
    bundle = decode(world.platform.repositories.blobs.get(version.bundle), ModelBundle)
    assert (version.format, len(bundle.seal)) == ("pickle", 64)
    (answer,) = world.core.predict("ice", [{"shop": "s0", "kind": "cone"}], ["p1"]).predictions
    assert (answer.error, answer.version) == ("", 1)


def test_a_prediction_process_loads_no_pickle_that_was_slipped_into_the_store(world: Any, tmp_path: Path) -> None:
    with_own_model(world, tmp_path)
    pickle_signing.allow(world.metadata, "ice", actor="eve", reason="ours", now_us=world.clock.now_us())
    run = world.train()
    assert run.status == "succeeded", run.error
    blobs, formats = world.platform.repositories.blobs, world.platform.formats
    bundle = decode(blobs.get(world.versions()[0].bundle), ModelBundle)
    bomb = formats["pickle"].imported(b"cos\nsystem\n(S'touch " + str(tmp_path / "mark").encode() + b"'\ntR.")
    changed = blobs.put(encode(ModelBundle(**{name: getattr(bundle, name) for name in bundle.__struct_fields__} | {"blob": blobs.put(bomb)})))
    with pytest.raises(Refused, match="another seal"):
        loading.load(blobs, formats, changed)
    assert not (tmp_path / "mark").exists()
