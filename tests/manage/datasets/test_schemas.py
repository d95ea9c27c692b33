"""A schema lives in versions: inferred, edited by words or as a whole, frozen to be active; two editors never lose an edit."""

import threading

import msgspec
import polars as pl
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.sql.metadata import SqlMetadata
from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage.datasets import schemas
from rota.manage.datasets.schema_edits import Edits, apply, differences
from rota.manage.datasets.schema_inference import batches, file_table, of_table
from rota.ports.metadata import Batch
from rota.records.model import Alias, ModelVersion
from rota.records.schema import SERVING, Comparator
from rota.stats.schema_inference import infer_table
from rota.stats.schema_validation import validate
from rota.stats.summarize import summarize
from rota.testing.story import NOON_US, version

FRAME = pl.DataFrame({"temp": [float(i) for i in range(100)], "carrier": ["UA", "AA"] * 50, "a.b": list(range(100))})


@pytest.fixture
def metadata():
    return MemoryMetadata()


def first(metadata, **changes):
    schema = msgspec.structs.replace(infer_table("flights", FRAME, dataset="flights@1"), **changes)
    return schemas.create(metadata, schema, author="anna", now_us=NOON_US)


def edited(*settings, removed=(), policies=(), schema=None):
    return apply(schema or infer_table("flights", FRAME), Edits(settings, removed, policies))


def column(schema, name):
    return next(c for c in schema.columns if c.name == name)


def test_an_inferred_schema_is_version_1_and_no_law_before_it_is_frozen(metadata):
    made = first(metadata, frozen_us=5)
    assert (made.version, made.author, made.created_us, made.frozen_us) == (1, "anna", NOON_US, None)
    assert schemas.active(metadata, "flights") is None
    frozen = schemas.freeze(metadata, "flights", author="ben", now_us=NOON_US + 1)
    assert schemas.active(metadata, "flights") == frozen == schemas.get(metadata, "flights@1")
    assert [(entry.actor, entry.action, entry.subject) for entry in metadata.audit()] == [
        ("anna", "schema.add", "flights@1"),
        ("ben", "schema.freeze", "flights@1"),
    ]


def test_an_edit_is_the_next_version_and_the_law_stays_until_it_is_frozen(metadata):
    law = schemas.freeze(metadata, f"{first(metadata).name}@1", author="anna", now_us=NOON_US)
    wider = schemas.edit(metadata, edited("temp.maximum=130", schema=law), author="ben", now_us=NOON_US + 1)
    assert (wider.version, wider.author, wider.frozen_us, column(wider, "temp").maximum) == (2, "ben", None, 130)
    assert schemas.active(metadata, "flights") == law
    assert [schemas.freeze(metadata, r, author="b", now_us=NOON_US).version for r in ("flights", "flights@1")] == [2, 1]
    assert schemas.active(metadata, "flights").version == 1
    assert schemas.get(metadata, "flights@2").frozen_us is not None


def test_an_edit_that_changes_nothing_makes_no_version(metadata):
    made = first(metadata)
    assert schemas.edit(metadata, made, author="ben", now_us=NOON_US + 1) == made
    assert schemas.newest_version(metadata, "flights") == 1


def test_the_second_of_two_edits_of_one_version_is_told_and_nothing_is_lost(metadata):
    made = first(metadata)
    schemas.edit(metadata, edited("temp.maximum=130", schema=made), author="anna", now_us=NOON_US)
    with pytest.raises(Conflict, match="edited from version 1 while version 2 appeared"):
        schemas.edit(metadata, edited("temp.minimum=-40", schema=made), author="ben", now_us=NOON_US)
    assert column(schemas.get(metadata, "flights"), "temp").maximum == 130


def test_editors_at_once_each_get_their_version_or_a_conflict(tmp_path):
    metadata = SqlMetadata(f"sqlite:///{tmp_path}/metadata.db")
    made = first(metadata)
    outcomes: list[str] = []

    def editor(number):
        try:
            schemas.edit(metadata, edited(f"temp.maximum={200 + number}", schema=made), author=f"e{number}", now_us=NOON_US)
            outcomes.append("stored")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=editor, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["stored"]
    assert schemas.newest_version(metadata, "flights") == 2
    metadata.close()


def test_what_is_not_there_is_named(metadata):
    with pytest.raises(NotFound, match="rota data schema infer"):
        schemas.get(metadata, "nix")
    first(metadata)
    with pytest.raises(NotFound, match=r"no version 7; it has \[1\]"):
        schemas.get(metadata, "flights@7")
    with pytest.raises(InvalidInput, match="NAME@VERSION"):
        schemas.get(metadata, "flights@new")


EDITS = [
    ("temp.maximum=130", "maximum", 130),
    ("temp.maximum=none", "maximum", None),
    ("temp.min_fraction=0.9", "max_null_share", 0.1),
    ("temp.allow_nan=false", "allow_nan", False),
    ("temp.drift.jensen_shannon_divergence=0.1", "drift", Comparator(jensen_shannon_divergence=0.1)),
    ("temp.not_in_environment=SERVING", "not_in_environment", ("SERVING",)),
    ("carrier.domain+=XX", "domain", ("AA", "UA", "XX")),
    ("carrier.domain-=UA", "domain", ("AA",)),
    ('carrier.domain=["a,b","c"]', "domain", ("a,b", "c")),
    ("carrier.min_domain_mass=0.99", "max_unknown_share", 0.01),
    ("a.b.maximum=7", "maximum", 7),
]


@pytest.mark.parametrize(("text", "field", "value"), EDITS)
def test_an_expectation_is_set_in_words(text, field, value):
    name = next(n for n in ("a.b", "temp", "carrier") if text.startswith(n))
    assert getattr(column(edited(text), name), field) == value


def test_the_schema_itself_has_words_too():
    schema = edited("min_examples=1000", "environments=TRAINING", policies=["FLOAT_TYPE_BIG_FLOAT=fail", "temp.*=ignore"])
    assert (schema.constraints.min_examples, schema.environments) == (1000, ("TRAINING",))
    assert (dict(schema.policy), dict(column(schema, "temp").policy)) == ({"FLOAT_TYPE_BIG_FLOAT": "fail"}, {"*": "ignore"})
    assert dict(edited(policies=["FLOAT_TYPE_BIG_FLOAT=default"], schema=schema).policy) == {}
    assert [c.name for c in edited(removed=["temp"]).columns] == ["carrier", "a.b"]


REFUSED = [
    ({"settings": ["temp"]}, "is no edit"),
    ({"settings": ["tmp.maximum=1"]}, "did you mean \\['temp'\\]"),
    ({"settings": ["temp.maximun=1"]}, "there are \\['maximum'"),
    ({"settings": ["temp.maximum=hot"]}, "does not fit"),
    ({"settings": ["temp.maximum=-200"]}, "lies above maximum"),
    ({"settings": ["temp.maximum+=1"]}, "no list of texts"),
    ({"settings": ["temp.name=x"]}, "has no 'name'"),
    ({"settings": ["carrier.domain-=ZZ"]}, "does not hold 'ZZ'"),
    ({"settings": ["carrier.domain=[1"]}, "does not fit"),
    ({"settings": ["temp.drift.psi=1"]}, "infinity_norm"),
    ({"settings": ["min_examples=many"]}, "does not fit"),
    ({"policies": ["temp.TOO_HOT=fail"]}, "has no 'TOO_HOT'"),
    ({"policies": ["temp.FLOAT_TYPE_BIG_FLOAT=maybe"]}, "none of fail, warn"),
    ({"removed": ["tempo"]}, "there are \\['temp'"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_words_that_fit_nothing_say_what_would(words, message):
    with pytest.raises(InvalidInput, match=message):
        edited(*words.get("settings", ()), removed=words.get("removed", ()), policies=words.get("policies", ()))


def test_a_value_that_joins_a_domain_is_no_unseen_value_any_more():
    data = pl.DataFrame({"carrier": ["XX"] * 5})
    before, after = (
        infer_table("flights", FRAME.select("carrier")),
        edited("carrier.domain+=XX", schema=infer_table("flights", FRAME.select("carrier"))),
    )
    unseen = [int(summarize(data, schema, histograms=True).columns["carrier"].counts[-1]) for schema in (before, after)]
    assert unseen == [5, 0]


def test_the_difference_of_two_schemas_is_told_in_the_words_of_edits():
    before = infer_table("flights", FRAME)
    after = edited("temp.maximum=130", "carrier.domain+=XX", "carrier.domain-=UA", "max_examples=9", removed=["a.b"], schema=before)
    assert {(d.column, d.field, d.before, d.after) for d in differences(before, after)} == {
        ("temp", "maximum", "108.9", "130"),
        ("carrier", "domain", "-UA", "+XX"),
        ("a.b", "column", "int", "removed"),
        (
            "",
            "constraints",
            "min_examples 1, max_examples None, min_fraction None, max_fraction None",
            "min_examples 1, max_examples 9, min_fraction None, max_fraction None",
        ),
    }
    assert list(differences(before, before)) == []


def test_a_champion_is_held_to_the_newest_law_with_the_columns_it_was_trained_with(metadata):
    old = schemas.freeze(metadata, f"{first(metadata, name='delay').name}@1", author="a", now_us=NOON_US)
    batch = Batch()
    champion: ModelVersion = version(1, "approved", run="r1")
    batch.put(champion)
    batch.put(Alias("delay", "champion", 1, NOON_US))
    batch.link("run:r1", ["schema:delay@1"], NOON_US)
    metadata.commit(batch)
    wider = schemas.edit(metadata, edited("temp.maximum=130", schema=old), author="a", now_us=NOON_US)
    assert schemas.serving(metadata, "delay") == old
    wider = schemas.freeze(metadata, "delay", author="a", now_us=NOON_US + 1)
    assert schemas.serving(metadata, "delay") == wider
    schemas.edit(metadata, edited(removed=["a.b"], schema=wider), author="a", now_us=NOON_US + 2)
    fewer = schemas.freeze(metadata, "delay", author="a", now_us=NOON_US + 2)
    assert schemas.active(metadata, "delay") == fewer
    assert schemas.serving(metadata, "delay") == wider
    assert schemas.serving(metadata, "other") is None


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file_is_inferred_and_validated_in_parts(tmp_path, ending):
    path = tmp_path / f"flights.{ending}"
    getattr(FRAME, {"parquet": "write_parquet", "csv": "write_csv", "jsonl": "write_ndjson"}[ending])(path)
    schema = of_table("flights", file_table(path), label="carrier")
    assert column(schema, "carrier").not_in_environment == (SERVING,)
    assert msgspec.structs.replace(schema, columns=()) == msgspec.structs.replace(infer_table("flights", FRAME), columns=())
    assert validate(schema, summarize(batches(file_table(path)), schema)) == ()


def test_a_file_without_rows_still_shows_its_columns(tmp_path):
    path = tmp_path / "none.parquet"
    FRAME.head(0).drop("temp").write_parquet(path)
    seen = summarize(batches(file_table(path)), infer_table("flights", FRAME))
    assert {a.kind for a in validate(infer_table("flights", FRAME), seen)} == {"SCHEMA_MISSING_COLUMN", "DATASET_LOW_NUM_EXAMPLES"}


def test_a_doubled_column_of_a_csv_file_is_new(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("temp,carrier,a.b,temp\n1.0,UA,3,2.0\n")
    seen = summarize(batches(file_table(path)), infer_table("flights", FRAME))
    assert [(a.kind, a.feature) for a in validate(infer_table("flights", FRAME), seen)] == [("SCHEMA_NEW_COLUMN", "temp_duplicated_0")]


def test_what_is_no_file_of_rows_is_refused(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nonsense")
    for name, error, words in (("nix.csv", NotFound, "no file"), ("bad.parquet", InvalidInput, "cannot be read as parquet")):
        with pytest.raises(error, match=words):
            file_table(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InvalidInput, match="is none of"):
        file_table(tmp_path / "notes.txt")
