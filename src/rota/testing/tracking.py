"""TrackingContract: the law of `rota.ports.tracking.Tracking` as tests. Needs pytest.

A backend's test module subclasses it and gives the fixture `stores`: an empty tracking store and the metadata store whose
transactions it shares. Where a store outlives its handle, give `reopened` too.
"""

import math
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from rota.errors import Conflict, InvalidInput, NotFound, Refused, RotaError
from rota.ports.metadata import Metadata
from rota.ports.tracking import Logged, RunChange, Tracking
from rota.records.filters import Comparison, Order, Query
from rota.records.model import Alias
from rota.records.tracking import DEFAULT_EXPERIMENT, MAX_KEY, Experiment, RunInput, RunOutput
from rota.testing.tracked_records import HOSTILE, ODD, Stores, batch_of, ids, point, run, same
from rota.testing.tracking_search import TrackingSearchContract


class TrackingContract(TrackingSearchContract):
    @pytest.fixture
    def stores(self) -> Stores:
        raise NotImplementedError("give a fixture `stores` that returns an empty tracking store and its metadata store")

    @pytest.fixture
    def tracking(self, stores: Stores) -> Tracking:
        return stores[0]

    @pytest.fixture
    def metadata(self, stores: Stores) -> Metadata:
        return stores[1]

    @pytest.fixture
    def reopened(self, tracking: Tracking) -> Callable[[], Tracking]:
        return lambda: tracking

    # --- experiments ---

    def test_the_default_experiment_is_always_there(self, tracking: Tracking, reopened: Callable[[], Tracking]) -> None:
        assert tracking.experiment(DEFAULT_EXPERIMENT) == tracking.experiment_named("Default") == Experiment("0", "Default")
        assert reopened().search_experiments(Query()).items == [Experiment("0", "Default")]
        with pytest.raises(Refused, match="always there"):
            tracking.purge_experiment(DEFAULT_EXPERIMENT)

    def test_an_experiment_reads_back_as_it_was_made(self, tracking: Tracking, reopened: Callable[[], Tracking]) -> None:
        made = Experiment("e1", "Fluggäste '☕'", "ice", 5, 6, {key: f"{key} as value" for key in HOSTILE})
        tracking.create_experiment(made)
        assert reopened().experiment("e1") == made == tracking.experiment_named("Fluggäste '☕'")
        assert tracking.experiment("e2") is None
        assert tracking.experiment_named("flug") is None

    @pytest.mark.parametrize("second", [Experiment("e1", "other"), Experiment("e2", "one"), Experiment("e3", "gone")])
    def test_ids_and_names_are_taken_once_also_by_deleted_experiments(self, tracking: Tracking, metadata: Metadata, second: Experiment) -> None:
        tracking.create_experiment(Experiment("e1", "one"))
        tracking.create_experiment(Experiment("e0", "gone", deleted_us=3))
        with pytest.raises(Conflict, match="exists already"):
            tracking.create_experiment(second, batch_of("x"))
        assert metadata.find(Alias) == []
        assert len(tracking.search_experiments(Query(view="all")).items) == 3

    def test_replacing_an_experiment_asks_what_was_there(self, tracking: Tracking) -> None:
        first = Experiment("e1", "one", tags={"a": "1", "b": "2"})
        tracking.create_experiment(first)
        second = msgspec.structs.replace(first, name="two", tags={"b": "3"}, updated_us=9)
        tracking.replace_experiment(second, before=first)
        assert tracking.experiment("e1") == second
        assert tracking.experiment_named("one") is None
        with pytest.raises(Conflict, match="read it again"):
            tracking.replace_experiment(first, before=first)
        with pytest.raises(Conflict, match="exists already"):
            tracking.replace_experiment(msgspec.structs.replace(second, name="Default"), before=second)
        with pytest.raises(Conflict, match="read it again"):
            tracking.replace_experiment(Experiment("e9", "nine"), before=Experiment("e9", "nine"))
        assert tracking.experiment("e1") == second

    def test_experiments_are_found_by_tag_time_and_name(self, tracking: Tracking) -> None:
        for number in range(6):
            tags = {"team": "ice" if number % 2 else "air"}
            tracking.create_experiment(Experiment(f"e{number}", f"Name {number}", created_us=number * 1_000, updated_us=7, tags=tags))
        tracking.create_experiment(Experiment("e9", "gone", created_us=9_000, tags={"team": "ice"}, deleted_us=1))

        def find(*where: Comparison, **options: Any) -> list[str]:
            return [found.id for found in tracking.search_experiments(Query(where=where, **options)).items]

        assert find() == ["e5", "e4", "e3", "e2", "e1", "0", "e0"]
        assert find(Comparison("tag", "team", "=", "ice")) == ["e5", "e3", "e1"]
        assert find(Comparison("tag", "team", "=", "ice"), view="deleted") == ["e9"]
        assert find(Comparison("tag", "team", "IS NULL", "")) == ["0"]
        assert find(Comparison("attribute", "creation_time", ">=", 4)) == ["e5", "e4"]
        assert find(Comparison("attribute", "name", "LIKE", "name%")) == []
        assert find(Comparison("attribute", "name", "ILIKE", "name%"), order=[Order("attribute", "name")])[:2] == ["e0", "e1"]
        page = tracking.search_experiments(Query(limit=4))
        assert [found.id for found in tracking.search_experiments(Query(limit=4, page=page.next)).items] == ["e1", "0", "e0"]

    # --- runs ---

    def test_a_run_reads_back_as_it_was_made(self, tracking: Tracking, reopened: Callable[[], Tracking]) -> None:
        made = run(
            parent="r0",
            ended_us=2_000_000,
            parameters={key: f"{key} as value" for key in HOSTILE} | {"empty": "", "long": "ü" * 6_000},
            tags={key: f"{key} as tag" for key in HOSTILE} | {"long": "x" * 8_000},
            latest=(point("a", 1.0, 3, 4), point("b", -0.5)),
            source={"commit": "c0ffee", "platform": "x"},
            inputs=(RunInput("d", "1", "s3", "s3://b/k", "dataset_version:d@1", "{}", "{}", {"mlflow.data.context": "training"}), RunInput("c", "2")),
            outputs=(RunOutput("m-2", 4), RunOutput("m-1")),
        )
        tracking.create_run(made)
        assert reopened().run("r1") == made
        assert tracking.run("r2") is None
        assert ids(tracking.search_runs([DEFAULT_EXPERIMENT], Query())) == ["r1"]

    def test_nobody_shares_an_object_with_the_store(self, tracking: Tracking) -> None:
        tags = {"a": "1"}
        tracking.create_run(run(tags=tags))
        tracking.create_experiment(Experiment("e1", "one", tags=tags))
        tags["a"] = "2"
        read = tracking.run("r1")
        assert read is not None
        read.tags["a"] = "3"  # type: ignore[index]
        assert tracking.run("r1") == run(tags={"a": "1"})
        assert tracking.experiment("e1") == Experiment("e1", "one", tags={"a": "1"})

    def test_a_run_begins_once_and_only_in_an_experiment(self, tracking: Tracking, metadata: Metadata) -> None:
        tracking.create_run(run(parameters={"a": "1"}))
        with pytest.raises(Conflict, match="r1"):
            tracking.create_run(run(parameters={"b": "2"}), batch_of("x"))
        with pytest.raises(NotFound, match="nowhere"):
            tracking.create_run(run("r2", experiment="nowhere"), batch_of("y"))
        tracking.create_experiment(Experiment("e1", "one", deleted_us=5))
        with pytest.raises(Refused, match="restore it"):
            tracking.create_run(run("r3", experiment="e1"), batch_of("z"))
        assert tracking.run("r1") == run(parameters={"a": "1"})
        assert tracking.run("r2") is tracking.run("r3") is None
        assert metadata.find(Alias) == []

    def test_a_run_is_changed_field_by_field(self, tracking: Tracking) -> None:
        tracking.create_run(run(parameters={"a": "1"}))
        assert tracking.change_run("r1", RunChange(name="new")) == run(name="new", parameters={"a": "1"})
        assert tracking.change_run("r1", RunChange(status="finished", ended_us=7)).ended_us == 7
        assert tracking.change_run("r1", RunChange(deleted_us=9)).deleted_us == 9
        assert tracking.change_run("r1", RunChange()).deleted_us == 9
        assert (
            tracking.change_run("r1", RunChange(deleted_us=0))
            == run(name="new", status="finished", ended_us=7, parameters={"a": "1"})
            == tracking.run("r1")
        )
        with pytest.raises(NotFound, match="r9"):
            tracking.change_run("r9", RunChange(name="x"))

    def test_a_batch_is_committed_with_every_verb_that_writes(self, tracking: Tracking, metadata: Metadata) -> None:
        experiment = Experiment("e1", "one")
        tracking.create_experiment(experiment, batch_of("a"))
        tracking.replace_experiment(msgspec.structs.replace(experiment, updated_us=1), before=experiment, batch=batch_of("b"))
        tracking.create_run(run(), batch_of("c"))
        tracking.log("r1", Logged(tags={"t": "1"}), batch_of("d"))
        tracking.log("r1", Logged(), batch_of("e"))
        tracking.change_run("r1", RunChange(name="x"), batch_of("f"))
        tracking.purge_runs(["r1"], batch_of("g"))
        tracking.purge_experiment("e1", batch_of("h"))
        assert [record.alias for record in metadata.find(Alias)] == list("abcdefgh")
        assert [event.subject for event in metadata.events(0)] == list("abcdefgh")

    def test_a_batch_that_cannot_be_committed_undoes_the_verb(self, tracking: Tracking, metadata: Metadata) -> None:
        experiment = Experiment("e1", "one", tags={"a": "1"})
        tracking.create_experiment(experiment)
        tracking.create_run(run(experiment="e1", tags={"a": "1"}))
        bad = batch_of("x", replacing=True)
        verbs: list[Callable[[], object]] = [
            lambda: tracking.create_experiment(Experiment("e2", "two"), bad),
            lambda: tracking.replace_experiment(Experiment("e1", "two", tags={"b": "2"}), before=experiment, batch=bad),
            lambda: tracking.create_run(run("r2", tags={"a": "1"}), bad),
            lambda: tracking.log("r1", Logged(metrics=[point()], tags={"a": "2"}, removed_tags=["a"], inputs=[RunInput("d", "1")]), bad),
            lambda: tracking.change_run("r1", RunChange(name="x"), bad),
            lambda: tracking.purge_runs(["r1"], bad),
            lambda: tracking.purge_experiment("e1", bad),
        ]
        for verb in verbs:
            with pytest.raises(Conflict):
                verb()
        assert tracking.experiment("e2") is None
        assert tracking.run("r2") is None
        assert tracking.experiment("e1") == experiment
        assert tracking.run("r1") == run(experiment="e1", tags={"a": "1"})
        assert tracking.history("r1", "auc") == []
        assert metadata.events(0) == []

    # --- logging ---

    def test_what_is_logged_comes_back(self, tracking: Tracking, reopened: Callable[[], Tracking]) -> None:
        tracking.create_run(run(tags={"old": "1", "kept": "1"}))
        tracking.log("r1", Logged(metrics=[point("auc", 0.5, 1), point("auc", 0.7, 2), point("loss", 3)], parameters={"a": "1"}))
        tracking.log("r1", Logged(tags={"new": "2", "kept": "2"}, removed_tags=["old", "unknown"], outputs=[RunOutput("m-1", 5)]))
        tracking.log("r1", Logged(parameters={"a": "1", "b": "2"}, inputs=[RunInput("d", "1", tags={"t": "x"})]))
        read = reopened().run("r1")
        assert read is not None
        assert read.metrics == {"auc": 0.7, "loss": 3.0}
        assert (read.parameters, read.tags) == ({"a": "1", "b": "2"}, {"new": "2", "kept": "2"})
        assert (read.inputs, read.outputs) == ((RunInput("d", "1", tags={"t": "x"}),), (RunOutput("m-1", 5),))

    def test_a_parameter_is_written_once(self, tracking: Tracking) -> None:
        tracking.create_run(run(parameters={"a": "1", "long": "x" * 300}))
        tracking.log("r1", Logged(parameters={"a": "1", "long": "x" * 300}))
        for changed in ({"a": "2"}, {"a": ""}, {"long": "x" * 299}, {"long": "x" * 299 + "y"}):
            with pytest.raises(InvalidInput, match="written once"):
                tracking.log("r1", Logged(parameters={"b": "1"} | changed, metrics=[point()], tags={"t": "1"}))
        assert tracking.run("r1") == run(parameters={"a": "1", "long": "x" * 300})
        assert tracking.history("r1", "auc") == []

    def test_a_deleted_or_unknown_run_logs_nothing(self, tracking: Tracking, metadata: Metadata) -> None:
        tracking.create_run(run(deleted_us=5))
        with pytest.raises(Refused, match="restore it"):
            tracking.log("r1", Logged(tags={"a": "1"}), batch_of("x"))
        with pytest.raises(NotFound, match="r9"):
            tracking.log("r9", Logged(tags={"a": "1"}), batch_of("y"))
        assert tracking.run("r1") == run(deleted_us=5)
        assert metadata.find(Alias) == []

    def test_logging_twice_is_logging_once(self, tracking: Tracking) -> None:
        tracking.create_run(run())
        logged = Logged(
            metrics=[point(value=value, step=2) for value in (*ODD, *ODD)],
            parameters={"a": "1"},
            tags={"t": "1"},
            inputs=[RunInput("d", "1"), RunInput("d", "1", source="elsewhere"), RunInput("d", "2")],
            outputs=[RunOutput("m-1", 1), RunOutput("m-1", 2)],
        )
        tracking.log("r1", logged)
        once = tracking.run("r1")
        tracking.log("r1", logged)
        twice = tracking.run("r1")
        assert once is not None
        assert twice is not None
        assert (twice.inputs, twice.outputs) == (once.inputs, once.outputs) == ((RunInput("d", "1"), RunInput("d", "2")), (RunOutput("m-1", 1),))
        assert len(tracking.history("r1", "auc")) == len(ODD)
        assert math.isnan(once.metrics["auc"])
        assert math.isnan(twice.metrics["auc"])

    def test_nan_and_infinities_come_back_in_order(self, tracking: Tracking, reopened: Callable[[], Tracking]) -> None:
        tracking.create_run(run(latest=tuple(point(f"k{number}", value) for number, value in enumerate(ODD))))
        tracking.log("r1", Logged(metrics=[point(value=value) for value in ODD]))
        series = [each.value for each in reopened().history("r1", "auc")]
        assert [repr(value) for value in series] == ["-inf", "-1.5", "0.0", "5e-324", repr(0.1 + 0.2), repr(1.7976931348623157e308), "inf", "nan"]
        read = tracking.run("r1")
        assert read is not None
        assert same(read.latest[1:], [point(f"k{number}", value) for number, value in enumerate(ODD)])

    def test_there_is_one_zero(self, tracking: Tracking) -> None:
        tracking.create_run(run())
        tracking.log("r1", Logged(metrics=[point(value=0.0), point(value=-0.0)]))
        tracking.log("r1", Logged(metrics=[point(value=-0.0)]))
        assert tracking.history("r1", "auc") == [point(value=0.0)]

    def test_the_newest_point_is_the_largest_by_step_time_and_value(self, tracking: Tracking) -> None:
        tracking.create_run(run())
        expected = point(value=-1.0, step=-(2**62))
        points = [
            expected,
            point(value=5.0, step=3, at_us=1),
            point(value=4.0, step=3, at_us=2),
            point(value=4.5, step=3, at_us=2),
            point(value=99.0, step=2, at_us=9),
        ]
        points += [point(value=-math.inf, step=3, at_us=2), point(value=math.nan, step=3, at_us=2), point(value=math.inf, step=3, at_us=2)]
        for each in points:
            tracking.log("r1", Logged(metrics=[each]))
            expected = max(expected, each, key=lambda p: (p.step, p.at_us, math.isnan(p.value), 0.0 if math.isnan(p.value) else p.value))
            read = tracking.run("r1")
            assert read is not None
            assert same(read.latest, [expected])
        tracking.log("r1", Logged(metrics=[point("other", value, step) for step, value in ((1, 5.0), (3, 1.0), (2, 9.0))]))
        read = tracking.run("r1")
        assert read is not None
        assert read.metrics["other"] == 1.0

    def test_a_series_is_read_in_parts(self, tracking: Tracking) -> None:
        tracking.create_run(run())
        points = [point(value=float(number % 7), step=number // 3, at_us=number) for number in range(1_000)]
        shuffled = random.Random(7).sample(points, len(points))  # noqa: S311 (no secret)
        tracking.log("r1", Logged(metrics=[*shuffled, point("aux", 1.0)]))
        assert tracking.history("r1", "auc") == points
        assert [each for start in range(0, 1_100, 300) for each in tracking.history("r1", "auc", start=start, limit=300)] == points
        assert tracking.history("r1", "auc", limit=0) == tracking.history("r1", "auc", start=1_000) == []
        assert tracking.history("r1", "nothing") == tracking.history("r9", "auc") == []

    def test_a_huge_batch_is_one_batch(self, tracking: Tracking) -> None:
        tracking.create_run(run())
        metrics = [point(f"m{number}", number / 3, number) for number in range(1_000)]
        texts = {f"k{number}": str(number) * 3 for number in range(100)}
        tracking.log("r1", Logged(metrics=metrics, parameters=texts, tags=texts))
        read = tracking.run("r1")
        assert read is not None
        assert (read.metrics, read.parameters, read.tags) == ({p.key: p.value for p in metrics}, texts, texts)

    def test_hostile_keys_are_keys(self, tracking: Tracking) -> None:
        tracking.create_run(run())
        for number, key in enumerate(HOSTILE):
            tracking.log("r1", Logged(metrics=[point(key, number)], parameters={key: key}, tags={key: key}))
        read = tracking.run("r1")
        assert read is not None
        assert read.metrics == {key: float(number) for number, key in enumerate(HOSTILE)}
        assert read.parameters == read.tags == {key: key for key in HOSTILE}
        for number, key in enumerate(HOSTILE):
            assert tracking.history("r1", key) == [point(key, number)]
            where = (Comparison("metric", key, "=", number), Comparison("parameter", key, "=", key), Comparison("tag", key, "LIKE", f"{key[:3]}%"))
            assert ids(tracking.search_runs(["0"], Query(where=where, order=[Order("metric", key), Order("tag", key)]))) == ["r1"]
        tracking.log("r1", Logged(removed_tags=HOSTILE))
        assert tracking.run("r1") == msgspec.structs.replace(read, tags={})

    @pytest.mark.parametrize(
        "logged",
        [
            Logged(metrics=[point("k" * (MAX_KEY + 1))]),
            Logged(metrics=[point("")]),
            Logged(metrics=[point("a\0b")]),
            Logged(metrics=[point(step=2**63)]),
            Logged(metrics=[point(at_us=-(2**63) - 1)]),
            Logged(parameters={"a": "x" * 6_001}),
            Logged(parameters={"\ud800": "x"}),
            Logged(tags={"a": "x" * 8_001}),
            Logged(tags={"a": "\0"}),
            Logged(inputs=[RunInput("d" * 501, "1")]),
            Logged(outputs=[RunOutput("", 0)]),
        ],
    )
    def test_what_no_engine_keeps_is_refused_whole(self, tracking: Tracking, metadata: Metadata, logged: Logged) -> None:
        tracking.create_run(run())
        with pytest.raises(InvalidInput):
            tracking.log("r1", logged, batch_of("x"))
        with pytest.raises(InvalidInput):
            tracking.create_run(
                run(
                    "r2",
                    latest=tuple(logged.metrics),
                    parameters=logged.parameters,
                    tags=logged.tags,
                    inputs=tuple(logged.inputs),
                    outputs=tuple(logged.outputs),
                )
            )
        assert tracking.run("r1") == run()
        assert tracking.run("r2") is None
        assert metadata.find(Alias) == []

    def test_numbers_of_any_size_fit_or_are_refused(self, tracking: Tracking) -> None:
        tracking.create_run(run(started_us=-(2**63)))
        tracking.log("r1", Logged(metrics=[point(value=1.0, step=2**63 - 1, at_us=2**63 - 1), point(value=2.0, step=-(2**63), at_us=-(2**63))]))
        assert [each.value for each in tracking.history("r1", "auc")] == [2.0, 1.0]
        with pytest.raises(InvalidInput):
            tracking.create_run(run("r2", started_us=2**63))
        with pytest.raises(InvalidInput):
            tracking.change_run("r1", RunChange(ended_us=2**63))

    # --- removing ---

    def test_purged_runs_leave_nothing_behind(self, tracking: Tracking) -> None:
        logged = Logged(metrics=[point()], parameters={"a": "1"}, tags={"t": "1"}, inputs=[RunInput("d", "1")], outputs=[RunOutput("m-1")])
        for name in ("r1", "r2", "r3"):
            tracking.create_run(run(name))
            tracking.log(name, logged)
        kept = tracking.run("r2")
        tracking.purge_runs(["r1", "r3", "unknown"])
        tracking.purge_runs([])
        assert tracking.run("r1") is tracking.run("r3") is None
        assert tracking.history("r1", "auc") == []
        assert tracking.run("r2") == kept
        tracking.create_run(run("r3"))
        assert tracking.run("r3") == run("r3")
        assert tracking.history("r3", "auc") == []

    def test_a_purged_experiment_takes_its_runs_along_and_frees_its_name(self, tracking: Tracking) -> None:
        tracking.create_experiment(Experiment("e1", "one", tags={"a": "1"}))
        for number in range(5):
            tracking.create_run(run(f"r{number}", experiment="e1", latest=(point(),)))
        tracking.create_run(run("other"))
        tracking.purge_experiment("e1")
        tracking.purge_experiment("unknown")
        assert tracking.experiment("e1") is None
        assert tracking.run("r0") is None
        assert tracking.run("other") == run("other")
        tracking.create_experiment(Experiment("e1", "one"))
        assert tracking.experiment("e1") == Experiment("e1", "one")
        assert tracking.search_runs(["e1"], Query(view="all")).items == []

    # --- at the same time ---

    def test_eight_writers_of_one_run_lose_nothing(self, tracking: Tracking, metadata: Metadata) -> None:
        tracking.create_run(run())

        def work(writer: int) -> None:
            for number in range(10):
                metrics = [point(f"shared{key}", writer * 100 + number, number, writer) for key in (range(5) if writer % 2 else reversed(range(5)))]
                tags = {f"t{key}": str(writer) for key in (range(5) if writer % 2 else reversed(range(5)))}
                logged = Logged(
                    metrics=metrics, parameters={f"p{writer}.{number}": "x", "same": "y"}, tags=tags, inputs=[RunInput(f"d{number}", str(writer))]
                )
                tracking.log("r1", logged, batch_of(f"{writer}.{number}"))

        _together(8, work)
        read = tracking.run("r1")
        assert read is not None
        assert len(read.parameters) == 81
        assert len(read.inputs) == 80
        assert read.latest == tuple(point(f"shared{key}", 709, 9, 7) for key in range(5))
        assert [len(tracking.history("r1", f"shared{key}")) for key in range(5)] == [80] * 5
        assert len(metadata.find(Alias)) == 80

    def test_of_two_contradicting_parameters_one_is_refused(self, tracking: Tracking) -> None:
        for name in ("r1", "r2", "r3", "r4", "r5"):
            tracking.create_run(run(name))
            errors = _together(4, lambda writer, name=name: tracking.log(name, Logged(parameters={"a": str(writer)}, tags={f"t{writer}": "1"})))  # type: ignore[misc]
            read = tracking.run(name)
            assert read is not None
            assert [type(error) for error in errors] == [InvalidInput] * 3
            assert list(read.tags) == [f"t{read.parameters['a']}"]

    def test_of_two_that_create_the_same_one_wins(self, tracking: Tracking) -> None:
        errors = _together(4, lambda writer: tracking.create_experiment(Experiment(f"e{writer}", "same", tags={"by": str(writer)})))
        assert [type(error) for error in errors] == [Conflict] * 3
        errors = _together(4, lambda writer: tracking.create_run(run(tags={"by": str(writer)})))
        assert [type(error) for error in errors] == [Conflict] * 3
        made, begun = tracking.experiment_named("same"), tracking.run("r1")
        assert made is not None
        assert begun is not None
        assert made.id == f"e{made.tags['by']}"
        assert len(begun.tags) == 1

    def test_of_many_that_replace_the_same_one_wins(self, tracking: Tracking) -> None:
        first = Experiment("e1", "one")
        tracking.create_experiment(first)
        errors = _together(4, lambda writer: tracking.replace_experiment(msgspec.structs.replace(first, tags={"by": str(writer)}), before=first))
        assert [type(error) for error in errors] == [Conflict] * 3


def _together(count: int, work: Callable[[int], object]) -> list[RotaError]:
    """The errors of threads that begin at the same moment; any other error than ours is raised."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> RotaError | None:
        barrier.wait(30)
        try:
            work(number)
        except (Conflict, InvalidInput) as error:
            return error
        return None

    with ThreadPoolExecutor(count) as pool:
        return [error for error in pool.map(begin, range(count)) if error is not None]
