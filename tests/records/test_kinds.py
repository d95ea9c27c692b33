"""The table of stored nouns: every kind has a name, a key and fields that its record has."""

import msgspec
import pytest

from rota.records.kinds import BY_NAME, BY_RECORD, KINDS, key_of, key_parts, node
from rota.records.model import ModelVersion
from rota.records.signal import Monitor
from rota.testing import story


def test_names_and_records_are_unique():
    assert len(BY_NAME) == len(BY_RECORD) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_key_and_index_are_fields_of_the_record(kind):
    fields = {field.name: field.type for field in msgspec.structs.fields(kind.record)}
    for path in kind.key + kind.index:
        first, _, rest = path.partition(".")
        assert first in fields
        assert not rest or rest in fields[first].__struct_fields__


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_key_is_always_given(kind):
    fields = {field.name: field for field in msgspec.structs.fields(kind.record)}
    assert all(fields[path.partition(".")[0]].required for path in kind.key)


def test_keys_sort_as_their_numbers_do():
    keys = [key_of(story.version(number, "registered")) for number in (1, 2, 9, 10, 11, 100, 2**62)]
    assert keys == sorted(keys)
    assert key_parts("delay", 3) == key_of(story.version(3, "approved"))


def test_a_node_says_kind_and_key():
    assert node(story.version(2, "approved")) == "model_version:delay@2"
    assert node(Monitor(story.Endpoint("delay", "delay"))) == "monitor:delay"
    assert BY_RECORD[ModelVersion].name == "model_version"
