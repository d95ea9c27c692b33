"""What a view's stored rows and versions are found by stays what it was, and definitions of earlier code are still read.

The texts and digests were made by the code before an expression was either SQL or a `PythonExpression`.
"""

import pytest

from rota.errors import Corrupt
from rota.manage.features.definitions import versions
from rota.manage.features.expressions import compiler
from rota.manage.features.online.row_codec import prefix
from rota.records.data import Entity, Feature, FeatureView, OnDemandFeatureView, PythonExpression, Source
from rota.records.record import decode, encode

CODE = "def ratio(amount: float, distance: float, xp) -> float:\n    return xp.log(amount / distance)"
OLD_CODE = r'{"sql":"def ratio(amount: float, distance: float, xp) -> float:\n    return xp.log(amount / distance)",'
SOURCE = Source(
    "rides",
    {"id": "string", "driver": "string", "at": "timestamp", "amount": "float", "distance": "float", "seats": "int"},
    "at",
    id_field="id",
)
DRIVER = Entity("driver", ["driver"])
RATIO = PythonExpression(CODE)
SCALAR = FeatureView("scalar", [DRIVER], SOURCE, {"long": Feature("distance > 15"), "amount": Feature("amount"), "ratio": Feature(RATIO)}, ttl="2h")
WINDOWS = FeatureView(
    "windows",
    [DRIVER],
    SOURCE,
    {
        "mean_3h": Feature("amount", "mean", "3h"),
        "rides_1d": Feature("1", "count", "1d"),
        "last": Feature("seats", "last", "3h"),
        "ratio_max": Feature(RATIO, "max", "3h"),
        "half": Feature("amount / 2", "sum", "3h"),
    },
)
REQUEST = OnDemandFeatureView("request", {"amount": "float", "distance": "float"}, {"twice": Feature("2 * amount"), "ratio": Feature(RATIO)})
OLD_SOURCE = (
    '{"name":"rides","fields":{"amount":"float","at":"timestamp","distance":"float","driver":"string","id":"string","seats":"int"},'
    '"timestamp_field":"at","id_field":"id","path":null,"owner":"","description":"","created_field":null,"url":null,"query":null,'
    '"watermark":null,"lateness":"0s","contract":null,"tags":{}}'
)
OLD_ENTITIES = '[{"name":"driver","join_keys":["driver"],"description":"","owner":"","tags":{}}]'
OLD_SCALAR = (
    f'{{"type":"FeatureView","name":"scalar","entities":{OLD_ENTITIES},"source":{OLD_SOURCE},'
    '"features":{"amount":{"sql":"amount","aggregation":null,"window":null},"long":{"sql":"distance > 15","aggregation":null,"window":null},'
    f'"ratio":{OLD_CODE}"aggregation":null,"window":null}}}},'
    '"ttl":"2h","hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}'
)
OLD_WINDOWS = (
    f'{{"type":"FeatureView","name":"windows","entities":{OLD_ENTITIES},"source":{OLD_SOURCE},'
    '"features":{"half":{"sql":"amount / 2","aggregation":"sum","window":"3h"},"last":{"sql":"seats","aggregation":"last","window":"3h"},'
    f'"mean_3h":{{"sql":"amount","aggregation":"mean","window":"3h"}},"ratio_max":{OLD_CODE}"aggregation":"max","window":"3h"}},'
    '"rides_1d":{"sql":"1","aggregation":"count","window":"1d"}},'
    '"ttl":null,"hop":"15m","owner":"","description":"","tags":{},"descriptions":{}}'
)
OLD_REQUEST = (
    '{"type":"OnDemandFeatureView","name":"request","inputs":{"amount":"float","distance":"float"},'
    f'"features":{{"ratio":{OLD_CODE}"aggregation":null,"window":null}},"twice":{{"sql":"2 * amount","aggregation":null,"window":null}}}},'
    '"owner":"","description":"","tags":{},"descriptions":{}}'
)
STORED = [(OLD_SCALAR, SCALAR), (OLD_WINDOWS, WINDOWS), (OLD_REQUEST, REQUEST)]


@pytest.mark.parametrize(("text", "view"), STORED)
def test_a_definition_that_earlier_code_stored_is_read_as_what_it_is(text: str, view: FeatureView | OnDemandFeatureView) -> None:
    stored = decode(text, type(view))
    assert stored == view
    assert decode(encode(stored), type(view)) == view
    assert versions.differences(stored, view) == []
    assert [each.expression for each in stored.features.values() if isinstance(each.expression, PythonExpression)] == [RATIO]


@pytest.mark.parametrize(
    ("view", "identity"),
    [
        (SCALAR, "0cd65fe0424a66a9f871d36b36e8a83e4674779c1d47795f77d35b7ebd3641a8"),
        (WINDOWS, "43712c3e45a4a5de9b927b3e9943d11384989022ffd13b7edf723ed2e1ccab63"),
        (REQUEST, "4c4969d878b5cf30b130ca7f4cd245591580df850cc3e2b145d3cad317387ab3"),
    ],
)
def test_an_unchanged_view_keeps_the_identity_by_which_its_version_is_known(view: FeatureView | OnDemandFeatureView, identity: str) -> None:
    assert versions.identity(view) == identity


def test_an_unchanged_view_keeps_the_prefix_by_which_its_online_rows_are_found() -> None:
    assert [prefix(view).hex() for view in (SCALAR, WINDOWS)] == ["761e1cc4bd41f2fa", "766b17b0bad544ed"]


def test_a_sql_feature_is_stored_as_plain_text_and_a_function_under_its_language() -> None:
    assert encode(Feature("distance > 15")) == b'{"sql":"distance > 15","aggregation":null,"window":null}'
    assert b'"sql":{"language":"python","source":"def ratio' in encode(Feature(RATIO))
    with pytest.raises(Corrupt, match="language"):
        decode('{"sql":{"language":"ruby","source":"def f"}}', Feature)


def test_a_column_whose_name_is_a_word_of_python_is_sql() -> None:
    feature = Feature("def > 3")
    assert feature.expression == "def > 3"
    assert compiler.type_of(feature.expression, {"def": "float"}) == "bool"
