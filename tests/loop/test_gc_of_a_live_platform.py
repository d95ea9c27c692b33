"""Garbage collection under a platform that serves: everything that its champion needs is there afterwards."""

import io

from rota.backends.memory.blobs import MemoryBlobs
from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.lineage import archive
from rota.manage.lineage import explain as lineage_explain
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.manage.retention import collect
from rota.manage.retention.expiry import Rules
from rota.manage.signals import prediction_log
from rota.records.dataset import DatasetVersion
from rota.records.record import plain
from rota.serve.predicting import PredictionCore
from rota.serve.release_poller import ModelSource, OpenedFeatures, ReleasePoller

NO_MERCY = Rules(trash_days=0, pending_days=0, run_days=0, grace_hours=0)


def test_a_live_champion_can_be_loaded_explained_archived_and_trained_again(world):
    world.history(10)
    assert world.train().status == "succeeded"
    ids = [each for _ in range(2) for each in world.live()]
    r = world.platform.repositories
    prediction_log.flush(r.journal, r.tables, "ice")
    blobs: MemoryBlobs = r.blobs
    orphan = blobs.put(b"nobody's")
    r.tables.append("datasets/ice/lost", r.tables.scan("datasets/ice/" + world.metadata.find(DatasetVersion)[0].digest).collect())
    before = plain(lineage_explain.explain(r, "ice@champion"))
    chain = prediction_chain(r, ids[0])
    for blob in blobs.touched:
        blobs.touched[blob] = 0
    found = collect.collect(r, NO_MERCY, wall_us=2**60, actor="anna")
    assert ("blob", orphan) in [(each.what, each.name) for each in found.removals]
    assert [each.name for each in found.removals if each.what == "table"] == ["datasets/ice/lost"]
    assert plain(lineage_explain.explain(r, "ice@champion")) == before
    assert prediction_chain(r, ids[0]) == chain
    archive.write(r, archive.belongings(r, "model_version:ice@champion"), io.BytesIO())
    version = datasets.get(world.metadata, "ice", 1)
    assert datasets.read(r.tables, version).height == version.rows
    assert profiles.load(blobs, version).rows == version.rows
    core = PredictionCore(r.journal, world.clock)
    model_source = ModelSource(world.metadata, blobs, world.platform.formats, lambda service: OpenedFeatures(OnlineFeatures(r.online, service)))
    ReleasePoller(core, model_source, clock=world.clock, process="serve-new").poll()
    assert core.predict("ice", [{"shop": "s0", "kind": "cone"}], ["after"])
    core.close()
    assert world.train().status == "succeeded"
