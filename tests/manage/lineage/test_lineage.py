"""Lineage: walking and drawing the graph, the whole chain behind one prediction, and notes about nodes."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import msgspec
import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.errors import InvalidInput, NotFound
from rota.manage.lineage import notes
from rota.manage.lineage.graph import Walk, graph, reached, walk
from rota.manage.lineage.node_types import type_of
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.manage.repositories import Repositories
from rota.manage.retention import holds
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.dataset import DatasetVersion
from rota.records.run import Run
from rota.records.signal import Note, Prediction
from rota.rendering import lineage_drawing
from rota.testing import FakeClock, story
from rota.testing.story import NOON_US


@pytest.fixture
def metadata():
    return MemoryMetadata()


def linked(metadata, *pairs):
    batch = Batch()
    for cause, effect in pairs:
        batch.link(effect, [cause], 1)
    metadata.commit(batch)


def pairs(walked):
    return [(edge.cause, edge.effect) for edge in walked.edges]


def test_a_walk_goes_both_ways_nearest_first(metadata):
    linked(metadata, ("a", "b"), ("b", "c"), ("x", "c"), ("c", "d"), ("other", "thing"))
    assert pairs(walk(metadata, "d", "causes")) == [("c", "d"), ("b", "c"), ("x", "c"), ("a", "b")]
    assert pairs(walk(metadata, "b", "effects")) == [("b", "c"), ("c", "d")]
    assert walk(metadata, "nothing", "causes") == Walk((), complete=True)


def test_a_walk_in_a_circle_ends_with_each_edge_once(metadata):
    circle = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")]
    linked(metadata, *circle)
    assert sorted(pairs(walk(metadata, "a", "causes"))) == sorted(circle)
    assert sorted(pairs(walk(metadata, "a", "effects"))) == sorted(circle)


def test_a_diamond_is_walked_once_and_depth_ends_a_walk(metadata):
    diamond = [("top", "left"), ("top", "right"), ("left", "end"), ("right", "end")]
    linked(metadata, *diamond)
    assert sorted(pairs(walk(metadata, "end", "causes"))) == sorted(diamond)
    assert sorted(pairs(walk(metadata, "end", "causes", depth=1))) == [("left", "end"), ("right", "end")]


def test_a_walk_is_bounded(metadata):
    linked(metadata, *((f"n{level}-{i}", f"n{level + 1}-{j}") for level in range(40) for i in range(3) for j in range(3)))
    walked = walk(metadata, "n40-0", "causes")
    assert (len(walked.edges), walked.complete) == (3 + 11 * 9, False)
    walked = walk(metadata, "n40-0", "causes", depth=100)
    assert (len(walked.edges), walked.complete) == (3 + 39 * 9, True)
    walked = walk(metadata, "n40-0", "causes", depth=100, most=20)
    assert (len(walked.edges), walked.complete) == (3 + 6 * 9, False)
    assert walk(metadata, "n40-0", "causes", depth=40).complete
    assert not walk(metadata, "n40-0", "causes", depth=39).complete


def test_what_a_hold_reaches_has_no_bound_in_nodes_or_hops(metadata):
    versions = [f"dataset_version:weather@{number}" for number in range(1, 10_002)]
    chain = [f"run:r{number}" for number in range(150)]
    linked(
        metadata,
        *(("source:weather@1", version) for version in versions),
        (versions[5], chain[0]),
        *pairwise(chain),
        (chain[-1], "model_version:delay@1"),
    )
    assert "model_version:delay@1" in reached(metadata, "source:weather@1", "effects")
    assert reached(metadata, "model_version:delay@1", "causes") == {"source:weather@1", versions[5], *chain}
    assert reached(metadata, "nothing", "causes") == set()
    holds.place(metadata, "source:weather@1", "a claim is open", actor="ada", now_us=1)
    assert holds.held_nodes(metadata) == {"source:weather@1", *versions, *chain, "model_version:delay@1"}


def test_what_is_reached_in_a_circle_holds_the_node_itself(metadata):
    linked(metadata, ("a", "b"), ("b", "a"), ("x", "a"))
    assert reached(metadata, "a", "causes") == {"a", "b", "x"}
    assert reached(metadata, "a", "effects") == {"a", "b"}


def test_a_walk_ends_with_the_hop_that_brings_it_above_the_most_nodes(metadata):
    linked(metadata, *((f"n{hop}", f"n{hop + 1}") for hop in range(20)))
    bounded = walk(metadata, "n0", "effects", depth=20, most=8)
    assert (len(bounded.edges), bounded.complete) == (8, False)  # 9 nodes with the first
    linked(metadata, *(("wide", f"w{number}") for number in range(30)), *((f"w{number}", f"x{number}") for number in range(30)))
    assert {edge.cause for edge in walk(metadata, "wide", "effects", most=8).edges} == {"wide"}


def test_a_graph_has_both_directions_with_its_levels_and_says_when_it_is_cut(metadata):
    linked(metadata, ("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("c", "c"), ("e", "c"))
    found = graph(metadata, "c", depth=1)
    assert found.levels == {"c": 0, "b": -1, "e": -1, "d": 1}
    assert found.cut
    whole = graph(metadata, "c", depth=9)
    assert (len(whole.edges), whole.cut) == (6, False)
    assert graph(metadata, "nothing").edges == ()


def test_a_graph_of_thousands_is_cut_to_what_can_be_drawn(metadata):
    linked(metadata, *(("middle", f"effect{number}") for number in range(3_000)), *((f"cause{number}", "middle") for number in range(3_000)))
    found = graph(metadata, "middle", most=100)
    assert found.cut
    assert len(found.levels) == 101
    drawn = lineage_drawing.picture(found)
    assert len({(box.x, box.y) for box in drawn.boxes}) == 101
    assert all(0 <= box.x < drawn.width and 0 <= box.y < drawn.height for box in drawn.boxes)


HOSTILE = 'run:"]; }<script>alert(1)</script>\n--> n0\\'


def test_a_node_of_any_name_stays_text_in_every_form(metadata):
    linked(metadata, (HOSTILE, "model_version:a@1"), ("dataset_version:a@1", HOSTILE))
    found = graph(metadata, "model_version:a@1")
    dot, mermaid = lineage_drawing.as_dot(found), lineage_drawing.as_mermaid(found)
    assert len(dot.splitlines()) == 2 + 3 + 2 + 1
    assert re.fullmatch(r'(?:  n\d+(?:\(\["[^"<>\n]*"\]\)|\["[^"<>\n]*"\]| --> n\d+)\n)+', mermaid.removeprefix("flowchart LR\n"))
    events = {edge["event"] for edge in lineage_drawing.as_json(found)["edges"]}
    assert events == {"INPUT", "OUTPUT"}


def test_kinds_are_told_in_ml_metadatas_words():
    told = {node: (type_of(node).concept, type_of(node).name) for node in ("run:1", "model_version:a@1", "experiment:0", "manual", "new:1", "")}
    assert told == {
        "run:1": ("execution", "Run"),
        "model_version:a@1": ("artifact", "Model"),
        "experiment:0": ("context", "Experiment"),
        "manual": ("artifact", "Trigger"),
        "new:1": ("artifact", "Other"),
        "": ("artifact", "Other"),
    }


def test_notes_are_added_by_many_at_once_and_read_in_order(metadata):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: notes.add(metadata, "run:r1", f"note {number}", author="anna", now_us=7), range(20)))
    found = notes.of(metadata, "run:r1")
    assert sorted(note.text for note in found) == sorted(f"note {number}" for number in range(20))
    assert [note.at_us for note in found] == list(range(7, 27))
    assert notes.of(metadata, "run:r2") == []


@pytest.mark.parametrize(
    ("node", "text", "tags"),
    [
        ("run:1", "", ()),
        ("run:1", " \n", ()),
        ("run:1", "x" * 10_001, ()),
        ("run", "text", ()),
        ("nix:1", "text", ()),
        ("run:\0", "text", ()),
        ("run:1", "text", ("",)),
        ("run:1", "text", ("a",) * 21),
        ("run:1", "text", ("x" * 101,)),
    ],
)
def test_a_note_without_a_node_or_a_text_is_refused(metadata, node, text, tags):
    with pytest.raises(InvalidInput):
        notes.add(metadata, node, text, author="anna", now_us=1, tags=tags)
    assert metadata.find(Note) == []


class World:
    """The story of `rota.testing`, told on to its end: an alert, the retraining it caused, the prediction of that version."""

    def __init__(self, metadata):
        self.metadata, self.runs, self.tables, self.journal = metadata, MemoryRuns(metadata), MemoryTables(), MemoryJournal()
        self.repositories = Repositories(
            metadata, self.runs, MemoryBlobs(), self.tables, MemoryOnline(), self.journal, FakeClock(NOON_US), MemoryTracking(metadata)
        )
        story.tell(metadata, self.runs)
        self.runs.submit(Run("r2", "train", "delay", {}, NOON_US, f"alert:{story.alert('last').id}"))
        dataset = metadata.get(DatasetVersion, "delay", 1)
        batch = Batch()
        batch.put(msgspec.structs.replace(dataset, sources={"arrivals": 4}))
        batch.put(story.version(1, "registered", run="r2"))
        metadata.commit(batch)
        approved = Batch()
        approved.put(story.version(1, "approved", run="r2"))
        approved.remove(story.approval(1))
        approved.put(story.approval(1, at_us=NOON_US + 5))
        metadata.commit(approved)

    def predict(self, identity="p1", **changes):
        made = Prediction(identity, "delay", NOON_US + 9, "delay", 1, "stable", 1, "u", {"id": "x"}, {"origin_delays__last": 3.0}, 0.25, 900)
        prediction_log.append(self.journal, "delay", [msgspec.structs.replace(made, **changes)])
        prediction_log.flush(self.journal, self.tables, "delay")

    def chain(self, identity="p1"):
        return prediction_chain(self.repositories, identity)


@pytest.fixture
def world(metadata):
    world = World(metadata)
    world.predict()
    return world


def test_a_prediction_has_its_chain_the_moment_it_was_answered(world):
    """No monitor has run, nothing was flushed: the journal has it."""
    answered = Prediction("p9", "delay", NOON_US + 9, "delay", 1, "stable", 1, "u", {"id": "x"}, {"origin_delays__last": 3.0}, 0.5, 900)
    prediction_log.append(world.journal, "delay", [answered])
    prediction_log.append(world.journal, "other", [msgspec.structs.replace(answered, prediction_id="p10", endpoint="other")])
    assert (world.chain("p9")[0].node, world.chain("p10")[0].node) == ("prediction:p9", "prediction:p10")
    with pytest.raises(NotFound, match="is in no prediction log"):
        world.chain("p11")


def test_the_chain_behind_a_prediction_is_whole_and_in_order(world):
    chain = world.chain()
    alert = story.alert("last").id
    assert [link.node for link in chain] == [
        "prediction:p1",
        "release:delay@1",
        "rollout:rollout.delay.1",
        "alias_move:delay@champion@1",
        "model_version:delay@1",
        f"approval:delay@1@{NOON_US + 5}",
        "run:r2",
        "dataset_version:delay@1",
        "source:arrivals@4",
        f"pipeline_release:{'d' * 64}",
        f"alert:{alert}",
        "run:m1",
    ]
    told = {link.node.split(":")[0]: link.what for link in chain[:-1]}
    assert told["prediction"] == "answered 0.2500 at 2013-07-15T12:00:00.000009Z as stable"
    assert told["release"] == "endpoint served v1 stable 100% since 2013-07-15T12:00:00Z"
    assert told["approval"].startswith("approve by rosa")
    assert told["run"] == f"trained by run r2, started by alert:{alert}"
    assert told["source"] == "table version 4"
    assert told["pipeline_release"] == "code c0ffee, lock none"
    assert told["alert"].endswith("last drifts")
    assert chain[0].facts["features"] == {"origin_delays__last": 3.0}


def test_an_approval_after_the_prediction_did_not_let_it_happen(world):
    world.predict("early", at_us=NOON_US + 4)
    assert not [link for link in world.chain("early") if link.node.startswith("approval:")]


def test_an_unknown_prediction_is_not_found(world):
    for identity in ("nothing", "", "p1' OR 1=1 --"):
        with pytest.raises(NotFound, match="is in no prediction log"):
            world.chain(identity)


def test_what_is_gone_is_left_out_and_a_failed_prediction_has_a_chain_too(world):
    world.predict("old", model="forgotten", number=9, revision=77, answer=None, error="timeout")
    assert [(link.node, link.what.split(" at ")[0]) for link in world.chain("old")] == [("prediction:old", "no answer")]


@pytest.mark.parametrize("dataset", ["", "delay", "delay@", "delay@x", "delay@²", "delay@7"])
def test_a_version_from_elsewhere_has_no_run_of_ours(world, dataset):
    batch = Batch()
    batch.put(story.version(3, "approved", run="", dataset=dataset, release=""))
    world.metadata.commit(batch)
    world.predict("p3", number=3)
    assert [link.node for link in world.chain("p3")] == [
        "prediction:p3",
        "release:delay@1",
        "alias_move:delay@champion@1",
        "model_version:delay@3",
    ]
