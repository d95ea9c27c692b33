"""Registration: what is stored together, what makes a new version, what is refused, and two who register at once."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import rota
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tables import MemoryTables
from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage.features.definitions import references, versions
from rota.manage.features.definitions import registration as registry
from rota.manage.features.online import row_codec
from rota.ports.metadata import Batch
from rota.records.data import (
    Entity,
    FeatureService,
    FeatureView,
    FeatureViewVersion,
    OnDemandFeatureView,
    Source,
    maximum,
    mean,
    minimum,
    share,
    sql,
    total,
)
from rota.records.fields import Field, RequestSource

FIELDS = {"shop": "string", "at": "timestamp", "amount": "float", "tax": "float"}
SALES = Source("sales", FIELDS, "at")
SHOP = Entity("shop", ["shop"])


def view(ttl=None, source=SALES, name="sold", **changes):
    return FeatureView(name, [SHOP], source, **{"features": {"amount": sql("amount")}, "ttl": ttl} | changes)


class World:
    def __init__(self):
        self.metadata, self.tables, self.now_us = MemoryMetadata(), MemoryTables(), 100

    def register(self, *definitions, actor="anna"):
        self.now_us += 1
        return registry.register(self.metadata, self.tables, definitions, now_us=self.now_us, actor=actor)

    def numbers(self, name="sold"):
        return [version.number for version in versions.of(self.metadata, name)]


@pytest.fixture
def world():
    return World()


def test_a_view_is_stored_with_its_source_and_as_its_first_version(world):
    assert world.register(view()) == [SALES, view()]
    assert world.metadata.get(FeatureViewVersion, "sold", 1) == FeatureViewVersion("sold", 1, view(), 101)
    assert [(entry.actor, entry.action, entry.subject) for entry in world.metadata.audit()] == [
        ("anna", "source.add", "sales"),
        ("anna", "feature_view.add", "sold"),
    ]


def test_registering_again_changes_nothing_and_says_so(world):
    world.register(view())
    before = (world.metadata.audit(), registry.catalog(world.metadata))
    assert world.register(view()) == []
    assert (world.metadata.audit(), registry.catalog(world.metadata)) == before


@pytest.mark.parametrize(
    "changed",
    [
        view("3h"),
        view(features={"amount": sql("amount * 2")}),
        view(features={"amount": sql("amount"), "tax": sql("tax")}),
        view(source=Source("other", FIELDS, "at")),
        FeatureView("sold", [Entity("place", ["shop", "tax_id"])], Source("sales", FIELDS | {"tax_id": "int"}, "at"), {"amount": sql("amount")}),
    ],
    ids=["ttl", "expression", "another feature", "source", "join keys"],
)
def test_what_the_values_follow_from_makes_the_next_version(world, changed):
    world.register(view())
    world.register(changed)
    assert world.numbers() == [1, 2]
    assert world.metadata.get(FeatureView, "sold") == changed
    assert [version.view for version in versions.of(world.metadata, "sold")] == [view(), changed]


def test_a_changed_hop_is_a_new_version_of_a_windowed_view(world):
    features = {"mean": mean("amount", window="3h")}
    world.register(view(features=features))
    world.register(view(features=features, hop="1h"))
    assert world.numbers() == [1, 2]


@pytest.mark.parametrize(
    "changed",
    [
        view(owner="ops"),
        view(description="what was sold"),
        view(tags={"domain": "shops"}),
        view(descriptions={"amount": "in dollars"}),
        view(source=Source("sales", FIELDS | {"weather": "string"}, "at", owner="ops")),
    ],
    ids=["owner", "description", "tags", "meaning", "a new column"],
)
def test_words_about_a_view_and_columns_that_it_does_not_use_make_none(world, changed):
    world.register(view())
    world.register(changed)
    assert world.numbers() == [1]
    assert world.metadata.get(FeatureView, "sold") == changed
    assert row_codec.prefix(changed) == row_codec.prefix(view()), "its online rows are found as before"


@pytest.mark.parametrize(("feature", "kind"), [(minimum, "string"), (maximum, "string"), (total, "string"), (mean, "timestamp"), (share, "float")])
def test_an_aggregation_of_a_type_that_it_does_not_take_is_refused(world, feature, kind):
    source = Source("sales", FIELDS | {"x": kind}, "at")
    with pytest.raises(InvalidInput, match=rf"takes .*, but 'x' is {kind}"):
        world.register(view(source=source, features={"x": feature("x", window="1h")}))


def refusals(world, *definitions):
    """What `register` says, which `plan` says too; nothing is stored."""
    found = []
    for act in (world.register, lambda *each: registry.plan(world.metadata, each)):
        with pytest.raises(InvalidInput) as refused:
            act(*definitions)
        found.append(str(refused.value))
    assert found[0] == found[1]
    assert world.metadata.find(Source) == []
    return found[0]


def test_a_view_whose_rows_nobody_could_find_is_refused(world):
    assert "'sold' has no entity" in refusals(world, FeatureView("sold", [], SALES, {"amount": sql("amount")}))
    twice = FeatureView("sold", [SHOP, Entity("place", ["shop"])], SALES, {"amount": sql("amount")})
    assert "found twice by the join key 'shop', of ['shop', 'place']" in refusals(world, twice)
    by_amount = FeatureView("sold", [Entity("amount", ["amount"])], SALES, {"tax": sql("tax")})
    assert "join keys ['amount'] are floats" in refusals(world, FeatureService("s", [by_amount]))


def test_a_service_that_cannot_be_asked_is_refused_with_both_views_named(world):
    numbered = FeatureView("numbered", [SHOP], Source("numbers", {"shop": "int", "at": "timestamp", "n": "int"}, "at"), {"n": sql("n")})
    message = refusals(world, FeatureService("s", [view(), numbered]))
    assert "field 'shop', but view 'sold' takes it as string and view 'numbered' as int" in message
    request = OnDemandFeatureView("request", {"shop": "float"}, {"twice": sql("2 * shop")})
    assert "view 'sold' takes it as string and view 'request' as float" in refusals(world, FeatureService("s", [view(), request]))
    other = OnDemandFeatureView("other", {"shop": "bool"}, {"is": sql("shop")})
    assert "view 'request' takes it as float and view 'other' as bool" in refusals(world, FeatureService("s", [request, other]))
    split = [view(name="a", features={"b__c": sql("amount")}), view(name="a__b", features={"c": sql("tax")})]
    assert "views 'a' and 'a__b' both have a feature called 'a__b__c'" in refusals(world, FeatureService("s", split))
    named = OnDemandFeatureView("request", {"sold__amount": "float"}, {"twice": sql("2 * sold__amount")})
    assert "'sold__amount' names a feature of view 'sold' and a request field of view 'request'" in refusals(
        world, FeatureService("s", [view(), named])
    )
    shared = OnDemandFeatureView("request", {"shop": "string"}, {"upper": sql("upper(shop)")})
    world.register(FeatureService("s", [view(), shared]))
    world.register(numbered)
    for asked in (["sold:amount", "numbered:n"], FeatureService("loose", [view(), numbered])):
        with pytest.raises(InvalidInput, match="'sold' takes it as string and view 'numbered' as int"):
            references.service(world.metadata, asked)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"a\nb": "float"}, "cannot be a column's"),
        ({"": "float"}, "cannot be a column's"),
        ({"x" * 201: "float"}, "cannot be a column's"),
        ({"Tax": "float"}, "'tax' and 'Tax' differ in case only"),
        ({"CREATED_US": "int"}, "is kept for Rota"),
    ],
)
def test_a_field_that_no_table_can_hold_is_refused_before_its_first_row(world, fields, message):
    with pytest.raises(InvalidInput, match=message):
        world.register(Source("sales", FIELDS | fields, "at"))


def test_a_field_that_comes_again_with_another_type_or_case_is_refused_because_of_the_rows_that_have_it(world):
    world.register(Source("sales", FIELDS | {"note": "string"}, "at"))
    world.tables.append("sources/sales", pl.DataFrame({"shop": ["a"], "at": [0], "note": ["x"], "created_us": [0]}))
    world.register(SALES)
    for name, kind in (("note", "int"), ("Note", "string")):
        with pytest.raises(InvalidInput, match=rf"a column 'note' of type String from before, so that '{name}' as {kind}"):
            world.register(Source("sales", FIELDS | {name: kind}, "at"))
    world.register(Source("sales", FIELDS | {"note": "string"}, "at"))


def test_a_request_time_view_has_versions_too(world):
    def request(text):
        return OnDemandFeatureView("request", {"x": "float"}, {"y": sql(text)})

    world.register(FeatureService("s", [request("x * 2")]))
    assert world.metadata.get(OnDemandFeatureView, "request") == request("x * 2")
    world.register(request("x * 3"))
    assert world.numbers("request") == [1, 2]


def test_a_view_from_before_versions_gets_its_first_and_its_second(world):
    batch = Batch()
    for record in (SALES, view()):
        batch.put(record)
    world.metadata.commit(batch)
    world.register(view("3h"))
    assert [(version.number, version.view.ttl) for version in versions.of(world.metadata, "sold")] == [(1, None), (2, "3h")]


def test_old_versions_are_still_fed(world):
    world.register(FeatureService("s", [view()]))
    world.register(view(features={"amount": sql("amount + 1")}), FeatureService("s", [view(features={"amount": sql("amount + 1")})]))
    assert {each.features["amount"].text for each in registry.views_of(world.metadata, "sales")} == {"amount", "amount + 1"}


def test_the_plan_says_what_changes_and_which_version_it_becomes(world):
    assert [(change.what, change.kind, change.name, change.version) for change in registry.plan(world.metadata, [view()])] == [
        ("add", "source", "sales", None),
        ("add", "feature_view", "sold", 1),
    ]
    world.register(view())
    (source, changed) = registry.plan(world.metadata, [view("3h", owner="ops")])
    assert source.what == "keep"
    assert (changed.what, changed.version) == ("change", 2)
    assert [(each.what, each.before, each.after) for each in changed.differences] == [("ttl", "never", "3h"), ("owner", "", "ops")]
    assert [change.what for change in registry.plan(world.metadata, [view()])] == ["keep", "keep"]


def test_what_is_not_declared_any_more_stays(world):
    world.register(FeatureService("s", [view()]))
    left = registry.left(world.metadata, [SALES])
    assert [(change.what, change.kind, change.name) for change in left] == [("stay", "feature_view", "sold"), ("stay", "feature_service", "s")]


def test_a_source_of_which_the_fields_are_not_known_can_be_declared_and_not_registered(world):
    away = Source("away", {}, "at", path="data/elsewhere/*.parquet")
    declared = FeatureView("v", [SHOP], away, schema=[Field("shop", str), Field("amount", "Float64")])
    assert declared.features == {"amount": sql('"amount"')}
    with pytest.raises(InvalidInput, match=r"'away' has no fields: data/elsewhere/\*.parquet could not be read here"):
        world.register(declared)


def test_a_field_that_a_version_computes_with_stays(world):
    world.register(view())
    lean = Source("sales", {"shop": "string", "at": "timestamp", "tax": "float"}, "at")
    with pytest.raises(InvalidInput, match=r"drops the fields \['amount'\], which sold@v1 computes with"):
        world.register(lean)
    world.register(Source("sales", {"shop": "string", "at": "timestamp", "amount": "float"}, "at"))
    assert "tax" not in world.metadata.get(Source, "sales").fields


def test_one_name_is_one_view(world):
    world.register(view())
    with pytest.raises(InvalidInput, match="'sold' already names a feature view"):
        world.register(OnDemandFeatureView("sold", {"x": "float"}, {"y": sql("x")}))
    with pytest.raises(InvalidInput, match="two different definitions"):
        world.register(view(), FeatureService("s", [view("3h")]))
    assert world.numbers() == [1]


@pytest.mark.parametrize(
    "name", ["../../etc", "", ".", "a/b", "ü", "a b", "x" * 129, "x" * 10_000, "a'; DROP TABLE records; --", "a\0b", "\ud800", None]
)
def test_a_name_that_is_unsafe_anywhere_names_nothing(name):
    for make in (
        lambda: FeatureView(name, [SHOP], SALES, {"f": sql("amount")}),
        lambda: view(features={name: sql("amount")}),
        lambda: Source(name, FIELDS, "at"),
        lambda: Entity(name, ["shop"]),
        lambda: FeatureService(name, [view()]),
        lambda: Field(name, "float"),
        lambda: RequestSource(name, []),
    ):
        with pytest.raises(InvalidInput, match="is not allowed"):
            make()


def test_columns_may_have_any_name(world):
    odd = {"shop": "string", "at": "timestamp", 'a "b" c': "float", "naïve; --": "int", "end": "float", "when": "int", "a.b-c": "string", "7": "bool"}
    fields = [Field("end", float), Field("when", float), Field("a.b-c", str), Field("7", bool)]
    made = FeatureView("odd", [SHOP], Source("odd", odd, "at"), schema=fields)
    world.register(made)
    assert world.numbers("odd") == [1]


def test_of_two_who_register_one_name_differently_one_is_told(world, monkeypatch):
    world.register(view())
    commit = world.metadata.commit

    def second_first(batch):
        monkeypatch.setattr(world.metadata, "commit", commit)
        world.register(view("1h"), actor="bert")
        commit(batch)

    monkeypatch.setattr(world.metadata, "commit", second_first)
    with pytest.raises(Conflict):
        world.register(view("3h"))
    assert world.metadata.get(FeatureView, "sold").ttl == "1h"
    assert world.numbers() == [1, 2]


@pytest.mark.parametrize("theirs", [view("3h"), view(source=Source("others", FIELDS, "at"), name="others")], ids=["the same", "another"])
def test_registering_the_same_or_something_else_at_the_same_moment_is_no_conflict(world, monkeypatch, theirs):
    world.register(view())
    commit = world.metadata.commit

    def second_first(batch):
        monkeypatch.setattr(world.metadata, "commit", commit)
        world.register(theirs, actor="bert")
        commit(batch)

    monkeypatch.setattr(world.metadata, "commit", second_first)
    world.register(view("3h"))
    assert world.metadata.get(FeatureView, "sold").ttl == "3h"
    assert world.numbers() == [1, 2]


def test_a_version_that_does_not_exist_is_told_with_those_that_do(world):
    world.register(view())
    with pytest.raises(NotFound, match=r"there is no version sold@v7; there are \['sold@v1'\]"):
        versions.get(world.metadata, "sold", 7)
    for text in ("sold", "sold@", "sold@v", "sold@v1x", "@v1", "sold@v٣", "sold@v1234567890"):
        with pytest.raises(InvalidInput, match="write VIEW@vNUMBER"):
            versions.named(text)
    assert versions.named("sold@v12") == ("sold", 12)


REGISTER = """
import sys, rota
home, ttl = sys.argv[1], sys.argv[2]
source = rota.Source("sales", {"shop": "string", "at": "timestamp", "amount": "float"}, "at")
view = rota.FeatureView("sold", [rota.Entity("shop", ["shop"])], source, {"amount": rota.sql("amount")}, ttl=ttl)
with rota.FeatureStore(home) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        store.apply(view)
        print("stored")
    except rota.Conflict:
        print("conflict")
"""


@pytest.mark.slow
def test_processes_that_register_one_name_at_once_leave_one_history(tmp_path: Path):
    started = [
        subprocess.Popen([sys.executable, "-c", REGISTER, str(tmp_path), f"{hours}h"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for hours in (1, 2, 3)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300)[0].strip() for process in started]
    assert {process.returncode for process in started} == {0}
    with rota.FeatureStore(tmp_path) as store:
        history = store.list_versions("sold")
        assert [version.number for version in history] == list(range(1, said.count("stored") + 1))
        assert {version.view.ttl for version in history} == {f"{hours}h" for hours, word in zip((1, 2, 3), said, strict=True) if word == "stored"}
        assert store.get_feature_view("sold") == history[-1].view
    assert set(said) <= {"stored", "conflict"}
    assert "stored" in said
