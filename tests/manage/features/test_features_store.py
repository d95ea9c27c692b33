"""The feature store through its public class: defined, joined, read online, pushed, versioned, searched, given up."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import rota
from rota.errors import InvalidInput, NotFound, Refused, Unavailable
from rota.manage.features.definitions import registration as registry
from rota.ports.metadata import Batch
from rota.records.dataset import DatasetVersion
from rota.records.model import ModelBundle, ModelVersion, Transformation
from rota.records.record import encode
from rota.records.release import Endpoint, Release, Route
from rota.records.run import Deployed, TrainingPipeline

NOW = datetime.now(UTC).replace(microsecond=0)
RIDES = rota.PushSource(
    "rides", timestamp_field="at", fields={"id": str, "driver": int, "at": "timestamp", "fare": float, "city": str}, id_field="id", owner="anna"
)
DRIVER = rota.Entity("driver")
STATS = rota.FeatureView(
    "stats",
    [DRIVER],
    RIDES,
    {"fare": rota.sql("fare"), "city": rota.sql("city"), "cents": rota.sql("fare * 100")},
    ttl="1d",
    owner="anna",
    tags={"team": "rides", "pii": "no"},
    descriptions={"fare": "of the newest ride"},
)
DAY = rota.FeatureView("day", [DRIVER], RIDES, {"rides": rota.count(window="24h"), "taken": rota.total("fare", window="24h")}, owner="bert")
REQUEST = rota.OnDemandFeatureView("request", {"km": float}, {"miles": rota.sql("km / 1.609344"), "fare": rota.sql("km * 2")})
SERVICE = rota.FeatureService("fares", [STATS[["fare"]], DAY, REQUEST], owner="anna")
DEARER = rota.FeatureView("stats", [DRIVER], RIDES, {"fare": rota.sql("fare + 1")}, ttl="1d", owner="anna")


@pytest.fixture
def store(tmp_path):
    with rota.FeatureStore(tmp_path / "home") as opened:
        opened.apply([DRIVER, RIDES, SERVICE, REQUEST])
        yield opened


@pytest.fixture
def ridden(store):
    store.push("rides", [ride("a", 1, hours=2, fare=10.0), ride("b", 1, hours=1, fare=20.0), ride("c", 2, hours=30, fare=5.0)])
    return store


def ride(identity, driver, *, hours, fare, city="Oslo"):
    return {"id": identity, "driver": driver, "at": NOW - timedelta(hours=hours), "fare": fare, "city": city}


def test_what_is_applied_is_found_again(store):
    assert store.get_feature_view("stats") == STATS
    assert store.get_on_demand_feature_view("request") == REQUEST
    assert store.get_feature_service("fares") == SERVICE
    assert store.get_entity("driver") == DRIVER
    assert store.get_data_source("rides") == RIDES
    assert [view.name for view in store.list_feature_views()] == ["day", "stats"]
    assert (store.list_on_demand_feature_views(), store.list_feature_services()) == ([REQUEST], [SERVICE])
    assert (store.list_entities(), store.list_data_sources()) == ([DRIVER], [RIDES])


def test_what_is_not_there_is_told(store):
    for ask in (store.get_entity, store.get_data_source, store.get_feature_view, store.get_feature_service, store.get_on_demand_feature_view):
        with pytest.raises(NotFound, match="nix"):
            ask("nix")
    with pytest.raises(NotFound, match="ask with get_on_demand_feature_view"):
        store.get_feature_view("request")
    with pytest.raises(NotFound, match="ask with get_feature_view"):
        store.get_on_demand_feature_view("stats")


def test_only_feature_definitions_are_applied(store):
    with pytest.raises(InvalidInput, match="Endpoint is no feature definition"):
        store.apply([Endpoint("e", "m")])
    assert store.apply([DRIVER]) == []
    assert store.apply(SERVICE) == []


def test_one_home_stays_what_it_is_when_it_is_opened_again(tmp_path):
    with rota.FeatureStore(tmp_path) as store:
        store.apply(SERVICE)
        store.push("rides", [ride("a", 1, hours=1, fare=3.0)])
    with rota.FeatureStore(tmp_path) as store:
        assert store.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict() == {"driver": [1], "stats__fare": [3.0]}


def test_pushed_rows_are_online_at_once_with_their_statuses(ridden):
    answer = ridden.get_online_features(["stats:fare", "day:rides", "request:miles"], [{"driver": d, "km": 1.609344} for d in (1, 2, 3)])
    assert answer.to_dict()["stats__fare"] == [20.0, None, None]
    assert answer.statuses()["stats__fare"] == ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert answer.to_dict()["day__rides"] == [2, 0, None]
    assert answer.to_dict()["request__miles"] == [1.0, 1.0, 1.0]


def test_a_service_is_read_in_its_order_by_name_and_as_an_object(ridden):
    rows = [{"driver": 1, "km": 2.0}]
    expected = {"driver": [1], "stats__fare": [20.0], "day__rides": [2], "day__taken": [30.0]}
    for asked in ("fares", SERVICE):
        answer = ridden.get_online_features(asked, rows).to_dict()
        assert answer | expected == answer
        assert list(answer) == ["driver", *SERVICE.feature_names]
    assert ridden.get_online_features("fares", {"driver": [1], "km": [2.0]}).to_dict() == ridden.get_online_features("fares", rows).to_dict()


def test_short_names_are_given_where_they_are_clear(ridden):
    assert ridden.get_online_features(["day:rides"], [{"driver": 1}], full_feature_names=False).to_dict() == {"driver": [1], "rides": [2]}
    both = ["stats:fare", "request:fare"]
    with pytest.raises(InvalidInput, match="fare"):
        ridden.get_online_features(both, [{"driver": 1, "km": 1.0}], full_feature_names=False)
    with pytest.raises(InvalidInput, match=r"the features \['fare'\] are in several views"):
        ridden.get_historical_features([{"driver": 1, "km": 1.0, "event_timestamp": NOW}], both, full_feature_names=False)


def entity_frame():
    return pl.DataFrame({"driver": [2, 1, 9, 1, None], "event_timestamp": [NOW - timedelta(hours=h) for h in (29, 1, 1, 1.5, 1)]})


EXPECTED = [5.0, 20.0, None, 10.0, None]


class Stream:
    """A table of a library that nobody knows, which speaks Arrow's C stream interface."""

    def __init__(self, frame):
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self._frame.__arrow_c_stream__(requested_schema)


def texts(frame):
    return [row | {"event_timestamp": row["event_timestamp"].isoformat()} for row in frame.to_dicts()]


@pytest.mark.parametrize("form", [lambda f: f, pl.DataFrame.lazy, Stream, pl.DataFrame.to_dicts, texts, lambda f: f.to_dict(as_series=False)])
def test_history_is_joined_to_a_table_of_any_kind(ridden, form):
    job = ridden.get_historical_features(form(entity_frame()), ["stats:fare", "day:rides"])
    joined = job.to_polars()
    assert joined["stats__fare"].to_list() == EXPECTED
    assert joined["day__rides"].to_list() == [1, 2, None, 1, None]
    assert joined["driver"].to_list() == [2, 1, 9, 1, None]
    assert job.to_polars() is joined, "it is joined once"


def test_history_is_joined_to_a_pandas_frame_and_given_back_as_one(ridden):
    pandas = pytest.importorskip("pandas")
    moments = pandas.to_datetime([row["event_timestamp"] for row in entity_frame().to_dicts()])
    frame = pandas.DataFrame(
        {"driver": pandas.array([2, 1, 9, 1, None], dtype="Int64"), "event_timestamp": moments, "note": ["a", None, "c", "d", "e"]}
    )
    joined = ridden.get_historical_features(frame, ["stats:fare", "stats:city"], full_feature_names=False).to_df()
    assert type(joined) is pandas.DataFrame
    assert [None if value != value else value for value in joined["fare"]] == EXPECTED  # noqa: PLR0124 - nan
    assert list(joined.columns) == ["driver", "event_timestamp", "note", "fare", "city"]
    assert joined["event_timestamp"].tolist() == [moment.tz_localize(None) for moment in moments]


def test_as_of_served_does_not_know_what_came_late(store):
    store.push("rides", [ride("late", 1, hours=3, fare=7.0)])
    rows = [{"driver": 1, "event_timestamp": NOW - timedelta(hours=2)}]
    assert store.get_historical_features(rows, ["stats:fare"]).to_polars()["stats__fare"].to_list() == [7.0]
    assert store.get_historical_features(rows, ["stats:fare"], as_of="served").to_polars()["stats__fare"].to_list() == [None]


@pytest.mark.parametrize(
    ("entity_df", "message"),
    [
        (7, "entity_df is a int; give a polars, pandas or Arrow table, or a list of dicts"),
        ("driver", "entity_df is a str"),
        ([{"driver": 1}], "event_timestamp"),
        ([{"event_timestamp": NOW}], "driver"),
        ([{"driver": "one", "event_timestamp": NOW}], "driver"),
        ([{"driver": 1, "event_timestamp": "yesterday"}], "row 0, column 'event_timestamp' .*'yesterday' is no timestamp"),
        ([{"driver": 1, "event_timestamp": NOW, "stats__fare": 1.0}], "already has the columns"),
        ([7, 8], "entity_df cannot be read as a table"),
        ({"driver": [1, 2], "event_timestamp": [NOW]}, "entity_df cannot be read as a table"),
    ],
)
def test_an_entity_frame_that_does_not_fit_says_why(ridden, entity_df, message):
    with pytest.raises(InvalidInput, match=message):
        ridden.get_historical_features(entity_df, ["stats:fare"]).to_polars()


def test_an_empty_frame_is_joined_to_an_empty_frame(ridden):
    joined = ridden.get_historical_features(entity_frame().clear(), ["stats:fare", "day:rides"]).to_polars()
    assert joined.shape == (0, 4)


def test_arrow_is_given_where_pyarrow_is_and_told_where_it_is_not(ridden):
    job = ridden.get_historical_features(entity_frame(), ["stats:fare"])
    try:
        table = job.to_arrow()
    except InvalidInput as error:
        assert "pyarrow is not installed" in str(error)  # noqa: PT017
    else:
        assert table.num_rows == 5


def test_a_table_is_pushed_like_rows(store):
    frame = pl.DataFrame([ride("a", 1, hours=1, fare=3.0)])
    assert store.push("rides", frame) == 1
    assert store.push("rides", frame) == 1, "a repetition is taken and changes nothing"
    assert store.get_online_features(["day:rides"], [{"driver": 1}]).to_dict()["day__rides"] == [1]
    with pytest.raises(InvalidInput, match="the pushed table is a int"):
        store.push("rides", 7)


def test_a_changed_view_is_a_new_version_and_the_old_one_keeps_its_values(ridden):
    (change,) = [change for change in ridden.plan(DEARER) if change.what == "change"]
    assert (change.name, change.version) == ("stats", 2)
    ridden.apply(DEARER)
    ridden.push("rides", [ride("d", 1, hours=0.5, fare=30.0)])
    rows = [{"driver": 1}]
    assert ridden.get_online_features(["stats@v1:cents"], rows).to_dict()["stats__cents"] == [3000.0]
    assert ridden.get_online_features(["stats:fare"], rows).to_dict()["stats__fare"] == [31.0]
    spine = [{"driver": 1, "event_timestamp": NOW}]
    assert ridden.get_historical_features(spine, ["stats@v1:fare"]).to_polars()["stats__fare"].to_list() == [30.0]
    assert ridden.get_historical_features(spine, ["stats@v2:fare"]).to_polars()["stats__fare"].to_list() == [31.0]
    assert (ridden.get_feature_view("stats@v1"), ridden.get_feature_view("stats@v2"), ridden.get_feature_view("stats")) == (STATS, DEARER, DEARER)


def test_a_view_that_is_new_is_online_at_once_and_materializing_fills_a_store_that_was_lost(ridden):
    ridden.apply(DEARER)
    assert ridden.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict()["stats__fare"] == [21.0]
    ridden._repositories.online.delete(b"")
    assert ridden.get_online_features(["stats:fare"], [{"driver": 1}]).statuses()["stats__fare"] == ["NOT_FOUND"]
    assert list(ridden.materialize(["stats"])) == ["rides"]
    assert ridden.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict()["stats__fare"] == [21.0]
    with pytest.raises(NotFound, match="nix"):
        ridden.materialize(["nix"])


def test_another_process_s_definitions_are_seen_at_the_next_look(tmp_path):
    with rota.FeatureStore(tmp_path) as store:
        store.apply(SERVICE)
        store.push("rides", [ride("a", 1, hours=1, fare=3.0)])
        store._refresh_s = 0.0
        assert store.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict()["stats__fare"] == [3.0]
        registry.register(store._metadata, store._repositories.tables, [DEARER], now_us=1)  # as another process does
        store.materialize()
        assert store.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict()["stats__fare"] == [4.0]


def test_reads_go_on_while_the_metadata_store_is_away(ridden, monkeypatch):
    asked = ("fares", [{"driver": 1, "km": 1.0}])
    before = ridden.get_online_features(*asked).to_dict()

    def away(_metadata):
        raise Unavailable("the metadata store does not answer")

    monkeypatch.setattr(registry, "catalog", away)
    ridden._checked_s = -1.0
    assert ridden.get_online_features(*asked).to_dict() == before


def test_a_join_takes_definitions_that_another_door_of_this_process_changed(ridden):
    rows = [{"driver": 1, "km": 1.0, "event_timestamp": NOW}]
    assert ridden.get_historical_features(rows, "fares").to_polars()["stats__fare"].to_list() == [20.0]
    ridden._checked_s = float("inf")  # no second passes in this test
    ridden._feed.register([DEARER, rota.FeatureService("fares", [DEARER[["fare"]]])])
    assert ridden.get_historical_features(rows, "fares").to_polars()["stats__fare"].to_list() == [21.0]


def test_a_join_takes_definitions_that_another_process_changed_when_a_second_has_passed(ridden):
    rows = [{"driver": 1, "km": 1.0, "event_timestamp": NOW}]
    before = ridden.get_historical_features(rows, "fares").to_polars()["stats__fare"].to_list()
    feed, ridden._checked_s = ridden._feed, float("inf")
    seen = feed.registrations
    feed.register([DEARER, rota.FeatureService("fares", [DEARER[["fare"]]])])
    feed.registrations = seen  # as if another process had registered them
    assert ridden.get_historical_features(rows, "fares").to_polars()["stats__fare"].to_list() == before
    ridden._checked_s = -1.0
    assert ridden.get_historical_features(rows, "fares").to_polars()["stats__fare"].to_list() == [21.0]


def test_readers_of_ever_new_questions_do_not_pile_up(ridden, monkeypatch):
    monkeypatch.setattr("rota.manage.features.store._MOST_COMPILED", 3)
    for number in range(10):
        service = rota.FeatureService(f"s{number}", [STATS])
        assert ridden.get_online_features(service, [{"driver": 1}]).to_dict()["stats__fare"] == [20.0]
    assert len(ridden._compiled) <= 3


def model_reads(store, number, service, status="approved"):
    """A model version with this service in its bundle."""
    blobs, metadata = store._repositories.blobs, store._metadata
    bundle = ModelBundle("fare", "lightgbm", "0" * 64, "regression", service, Transformation(()), (), ())
    batch = Batch()
    batch.put(ModelVersion("fare", number, blobs.put(encode(bundle)), "lightgbm", "", "fare@1", "", 1, status))
    metadata.commit(batch)


def test_every_user_of_a_view_and_of_one_feature_is_found(ridden):
    model_reads(ridden, 1, SERVICE)
    model_reads(ridden, 2, rota.FeatureService("other", [DAY]))
    batch = Batch()
    definition = rota.DatasetDefinition(SERVICE, RIDES, rota.sql("fare > 10"), "at")
    batch.put(rota.Dataset("fares", definition))
    batch.put(Endpoint("live", "fare"))
    batch.put(Release("live", 1, (Route("fare", 1, "0" * 64, "stable", 100),), "", 1))
    ridden._metadata.commit(batch)
    found = {(user.kind, user.name): (user.features, user.version) for user in ridden.usage("stats")}
    assert found == {
        ("feature_service", "fares"): (("fare",), 1),
        ("dataset", "fares"): (("fare",), 1),
        ("model_version", "fare@1"): (("fare",), 1),
        ("endpoint", "live (fare@1)"): (("fare",), 1),
    }
    assert {user.name for user in ridden.usage("day:rides")} == {"fares", "fare@1", "fare@2", "live (fare@1)"}
    assert ridden.usage("stats:cents") == []
    for unknown in ("nix", "stats:nix", "", "../x", "x" * 10_000):
        with pytest.raises(NotFound):
            ridden.usage(unknown)


def test_a_dataset_version_is_a_user_by_its_columns(ridden):
    spine = ridden.get_historical_features([{"driver": 1, "km": 1.0, "event_timestamp": NOW}], "fares").to_polars()
    version = ridden._repositories.tables.append("datasets/fares/x", spine.drop("event_timestamp"))
    made = DatasetVersion("fares", 1, "x", "datasets/fares/x", version, 1, 1, 0, 1, 2, 2, 2)
    batch = Batch()
    batch.put(made)
    ridden._metadata.commit(batch)
    assert [(user.kind, user.name, user.features) for user in ridden.usage("day") if user.kind == "dataset_version"] == [
        ("dataset_version", "fares@1", ("rides", "taken"))
    ]


def test_a_version_is_given_up_when_nobody_uses_it(ridden):
    model_reads(ridden, 1, rota.FeatureService("old", [STATS]))
    ridden.apply(DEARER)
    ridden.materialize()
    with pytest.raises(Refused, match="stats@v1 is used by feature service fares, model version fare@1"):
        ridden.retire("stats@v1")
    ridden.apply(rota.FeatureService("fares", [DEARER, DAY]))
    with pytest.raises(Refused, match="model version fare@1"):
        ridden.retire("stats@v1")
    model_reads(ridden, 1, rota.FeatureService("old", [STATS]), status="rejected")
    assert ridden.retire("stats@v1") == 2
    with pytest.raises(NotFound, match="stats@v1 is retired"):
        ridden.get_online_features(["stats@v1:fare"], [{"driver": 1}])
    ridden.push("rides", [ride("e", 1, hours=0, fare=50.0)])
    assert ridden.retire("stats@v1") == 0, "no row was brought online for it since"
    assert ridden.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict()["stats__fare"] == [51.0]
    assert [entry.action for entry in ridden._metadata.audit()][-1] == "feature_view.retire"


def test_a_version_that_shares_its_rows_with_a_later_one_leaves_them(ridden):
    longer = rota.FeatureView("stats", [DRIVER], RIDES, STATS.features, ttl="7d")
    ridden.apply([longer, rota.FeatureService("fares", [longer])])
    assert ridden.retire("stats@v1") == 0
    assert ridden.get_online_features(["stats:fare"], [{"driver": 2}]).to_dict()["stats__fare"] == [5.0]


def test_a_view_that_was_given_up_comes_back_as_its_next_version(ridden):
    ridden.apply(rota.FeatureService("fares", [DAY]))
    ridden.retire("stats@v1")
    with pytest.raises(NotFound, match="retired"):
        ridden.get_online_features(["stats:fare"], [{"driver": 1}])
    ridden.apply(STATS)
    assert [(version.number, version.retired_us is None) for version in ridden.list_versions("stats")] == [(1, False), (2, True)]
    ridden.materialize()
    assert ridden.get_online_features(["stats:fare"], [{"driver": 1}]).to_dict()["stats__fare"] == [20.0]


def test_the_catalog_is_searched_by_words_owner_tag_entity_type_and_kind(store):
    def names(*words, **how):
        return [entry.name for entry in store.search(*words, **how)]

    assert names("FARE", kind="feature")[0] == "stats:fare"
    assert names("newest ride") == ["stats:fare"]
    assert names(owner="Bert") == ["day", "day:rides", "day:taken"]
    assert names(tag="team=rides", kind="feature_view") == names(tag="team", kind="feature_view") == ["stats"]
    assert names(tag="team=other") == []
    assert names(entity="driver", type="int") == ["day:rides"]
    assert names(type="string") == ["stats:city"]
    assert names(kind="source") == ["rides"]
    assert names("fares", kind="feature_service") == ["fares"]
    assert names("nothing like it") == names("<script>") == names("x" * 10_000) == []
    assert len(names()) == len(set(names())) == 2 + 5 + 1 + 2 + 1 + 1


def test_a_pipeline_is_a_user(store):
    definition = rota.DatasetDefinition(SERVICE, RIDES, rota.sql("fare > 10"), "at")
    batch = Batch()
    batch.put(Deployed("fare", "prod", "d" * 64, TrainingPipeline("fare", "project:train", definition), 1))
    store._metadata.commit(batch)
    assert ("pipeline", "fare in prod") in {(user.kind, user.name) for user in store.usage("day")}
