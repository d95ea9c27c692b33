"""Finding models and versions by what describes them."""

import pytest

from rota.errors import InvalidInput
from rota.manage.experiments.search_grammar import parse_filter, parse_order
from rota.manage.models import model_aliases, model_search
from rota.ports.metadata import Batch
from rota.records.filters import Query
from rota.records.model import Alias, RegisteredModel
from rota.testing.story import version


@pytest.fixture
def metadata(repositories):
    batch = Batch()
    for record in (
        version(1, "approved", metrics={"auc": 0.7}, owner="anna", tags={"team": "ops"}, parameters={"depth": 8}),
        version(2, "registered", metrics={"auc": 0.9}, owner="bea"),
        version(3, "rejected", metrics={"auc": 0.6}, owner="anna"),
        version(4, "deleted", metrics={"auc": 0.99}, owner="anna"),
        version(1, "registered", model="churn", metrics={"auc": 0.8, "loss": 0.1}, tags={"rota.archived": "true"}),
        Alias("delay", "champion", 1, 5),
        Alias("delay", "gold", 1, 5),
        Alias("delay", "challenger", 2, 5),
        RegisteredModel("delay", owner="otto", tags={"area": "air"}, created_us=1_000_000),
        RegisteredModel("churn", owner="olga"),
        RegisteredModel("old", deleted_us=3),
    ):
        batch.put(record)
    repositories.metadata.commit(batch)
    return repositories.metadata


def versions(metadata, text, *order, **query):
    asked = Query(parse_filter(text, "model_version"), parse_order(order, "model_version"), **query)
    return [v.id for v in model_search.versions(metadata, asked).items]


def models(metadata, text, *order, **query):
    asked = Query(parse_filter(text, "registered_model"), parse_order(order, "registered_model"), **query)
    return [m.name for m in model_search.models(metadata, asked).items]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["churn@1", "delay@1", "delay@2", "delay@3"]),
        ("name = 'delay'", ["delay@1", "delay@2", "delay@3"]),
        ("name LIKE 'chu%'", ["churn@1"]),
        ("metrics.auc > 0.75", ["churn@1", "delay@2"]),
        ("metrics.loss < 1", ["churn@1"]),
        ("tags.team = 'ops'", ["delay@1"]),
        ("params.depth = '8'", ["delay@1"]),
        ("owner = 'anna' and status = 'approved'", ["delay@1"]),
        ("status IN ('rejected', 'registered')", ["churn@1", "delay@2", "delay@3"]),
        ("alias = 'gold'", ["delay@1"]),
        ("alias = 'champion'", ["delay@1"]),
        ("stage = 'staging'", ["delay@2"]),
        ("stage = 'archived'", ["churn@1"]),
        ("version_number > 1", ["delay@2", "delay@3"]),
        ("name = 'x'' OR 1=1 --'", []),
    ],
)
def test_versions_are_found_by_what_describes_them(metadata, text, found):
    assert sorted(versions(metadata, text)) == found


def test_versions_come_in_the_wanted_order_page_by_page(metadata):
    assert versions(metadata, "", "metrics.auc DESC") == ["delay@2", "churn@1", "delay@1", "delay@3"]
    asked = Query((), parse_order(["metrics.auc ASC"], "model_version"), 3)
    first = model_search.versions(metadata, asked)
    second = model_search.versions(metadata, Query(asked.where, asked.order, 3, first.next))
    assert [v.id for v in (*first.items, *second.items)] == ["delay@3", "delay@1", "churn@1", "delay@2"]
    assert second.next == ""


def test_deleted_ones_are_shown_only_when_asked_for(metadata):
    assert versions(metadata, "", view="deleted") == ["delay@4"]
    assert len(versions(metadata, "", view="all")) == 5
    assert models(metadata, "", view="deleted") == ["old"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["churn", "delay"]),
        ("owner = 'otto'", ["delay"]),
        ("tags.area = 'air'", ["delay"]),
        ("metrics.auc >= 0.75", ["churn"]),
        ("metrics.auc = 0.7", ["delay"]),
        ("name ILIKE 'DE%'", ["delay"]),
    ],
)
def test_a_model_is_found_by_itself_and_by_the_metrics_of_its_champion(metadata, text, found):
    assert models(metadata, text) == found


def test_a_model_without_champion_is_found_by_its_newest_version(metadata):
    batch = Batch()
    model_aliases.remove(batch, metadata, metadata.get(Alias, "delay", "champion"), actor="a", now_us=9, reason="")
    metadata.commit(batch)
    assert models(metadata, "metrics.auc = 0.6") == ["delay"]


def test_what_nobody_can_ask_is_refused(metadata):
    with pytest.raises(InvalidInput, match="has no attribute 'colour'"):
        versions(metadata, "colour = 'red'")
