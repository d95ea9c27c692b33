"""The codec: equal values give equal bytes, foreign bytes are corrupt, names are safe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import Corrupt, InvalidInput
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.record import check_name, decode, digest, encode, plain
from rota.records.run import Deployed, Run
from rota.records.signal import Event
from rota.testing import story

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS, st.lists, max_leaves=10
)


@given(st.dictionaries(TEXTS, JSON, max_size=5), TEXTS)
def test_a_record_reads_back_as_it_was_written(arguments, subject):
    run = Run("r1", "train", subject, arguments, 5, result=arguments)
    assert decode(encode(run), Run) == run


def test_a_union_of_views_reads_back_as_what_each_was():
    source = Source("s", {"k": "string", "at": "timestamp", "x": "float"}, "at")
    views = [
        FeatureView("stored", [Entity("e", ["k"])], source, {"x": Feature("x")}),
        OnDemandFeatureView("asked", {"y": "float"}, {"y": Feature("y")}),
    ]
    service = FeatureService("both", views)
    assert decode(encode(service), FeatureService) == service
    deployed = Deployed("delay", "prod", "d", story.PIPELINE, 1)
    assert decode(encode(deployed), Deployed) == deployed


@given(st.dictionaries(TEXTS, st.integers(-(2**53), 2**53)))
def test_equal_values_give_equal_bytes(body):
    turned = dict(reversed(body.items()))
    assert encode(Event("commit.pushed", "s", 1, body)) == encode(Event("commit.pushed", "s", 1, turned))
    assert digest(encode(body)) == digest(encode(turned))


FOREIGN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"entity"',
    b"\xff",
    b'{"name":"\xff","join_keys":["a"]}',
    b"[" * 100_000,
    b'{"name":"e"}',
    b'{"name":7,"join_keys":[]}',
]


@pytest.mark.parametrize("data", [*FOREIGN, b'{"name":"../x","join_keys":["a"]}', b'{"name":"e","join_keys":[]}'])
def test_foreign_bytes_are_corrupt(data):
    with pytest.raises(Corrupt, match="stored Entity cannot be read"):
        decode(data, Entity)


def test_a_field_from_the_future_is_passed_over_and_a_missing_one_has_its_default():
    assert decode(b'{"name":"e","join_keys":["a"],"colour":"red"}', Entity) == Entity("e", ["a"])


def test_a_record_does_not_change():
    with pytest.raises(AttributeError):
        Entity("e", ["a"]).name = "f"


def test_plain_values_are_json():
    assert plain(Entity("e", ["a"])) == {"name": "e", "join_keys": ("a",), "description": "", "owner": "", "tags": {}}


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "_x", "9", "x" * 128])
def test_a_safe_name_is_itself(name):
    assert check_name("thing", name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "a/b", "a\\b", "a b", "a\n", "a\0", "ä", "²", "a@1", "x" * 129, None, 7, b"a"])
def test_an_unsafe_name_is_refused(name):
    with pytest.raises(InvalidInput, match="thing name"):
        check_name("thing", name)
