"""Inputs: files of directories and buckets, SQLite and PostgreSQL, read and never written, whatever their names and values are."""

import gc
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import NullPool, create_engine, text

from rota import found_files
from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.storage.s3_bucket import open_bucket
from rota.errors import InvalidInput, NotFound, Unavailable
from rota.ports.inputs import WatermarkQuery
from rota.records.time import parse_time

NOON = parse_time("2013-07-15T12:00:00Z")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.csv", "b.csv", "c.txt", ".hidden.csv", "_SUCCESS", "sub/d.csv", "sub/deep/e.csv", "[odd]*.csv", "ü n.csv", "_tmp/f.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(pattern: str) -> list[str]:
    return [file.name for file in FileInput().find(pattern)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.csv", ["a.csv"]),
        ("*.csv", ["[odd]*.csv", "a.csv", "b.csv", "ü n.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["[odd]*.csv", "a.csv", "b.csv", "sub/d.csv", "sub/deep/e.csv", "ü n.csv"]),
        ("sub/**", ["sub/d.csv", "sub/deep/e.csv"]),
        ("s*/d.csv", ["sub/d.csv"]),
        ("[odd]*.csv", ["[odd]*.csv"]),
        (".hidden.csv", [".hidden.csv"]),
        ("_tmp/*", ["_tmp/f.csv"]),
        ("sub/../a.csv", ["sub/../a.csv"]),
    ],
)
def test_a_pattern_finds_what_it_says_and_no_hidden_file(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected
    assert [Path(name).relative_to(tree).as_posix() for name in names(str(tree / pattern)) if ".." not in name] == [
        e for e in expected if ".." not in e
    ]


@pytest.mark.parametrize("pattern", ["nothing.csv", "*.parquet", "sub", "a.csv/x", "nowhere/*/*.csv"])
def test_a_pattern_without_files_says_so(tree: Path, pattern: str) -> None:
    with pytest.raises(NotFound, match="no file matches"):
        FileInput().find(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "a\0b", "http://host/a.csv", "file:///etc/passwd", "gs://b/k", "**/**/*.csv", "x" * 5_000, "s3://", "s3://bucket", "s3://B_AD/k", "[z-a]*"],
)
def test_hostile_patterns_are_refused_before_anything_is_looked_at(tree: Path, pattern: str) -> None:
    with pytest.raises(InvalidInput):
        FileInput().find(pattern)


def test_a_pattern_that_would_look_at_everything_is_stopped(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.found_files.MOST_NAMES", 5)
    with pytest.raises(InvalidInput, match="more than 5 names"):
        FileInput().find("**/*.csv")


def test_links_to_directories_are_not_walked_into_and_pipes_are_no_files(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "linked.csv").symlink_to(tree / "a.csv")
    os.mkfifo(tree / "pipe.csv")
    assert "linked.csv" in names("**/*.csv")
    assert not [name for name in names("**/*.csv") if "loop" in name or "pipe" in name]


def test_a_file_that_changes_while_it_is_read_is_told(tree: Path) -> None:
    (found,) = FileInput().find("a.csv")
    with FileInput().fetch(found) as path:
        assert path.read_text() == "a.csv"
    with pytest.raises(Unavailable, match="changed while it was read"), FileInput().fetch(found) as path:
        path.write_text("another content")
    with pytest.raises(Unavailable, match="changed"), FileInput().fetch(found):
        pass


def test_the_stamp_tells_one_content_from_another(tree: Path) -> None:
    (before,) = FileInput().find("a.csv")
    (tree / "new").write_text("B.csv")  # of the same length
    (tree / "new").replace(tree / "a.csv")
    (after,) = FileInput().find("a.csv")
    assert before.stamp != after.stamp
    assert FileInput().find("a.csv") == [after]


@pytest.fixture
def bucket(s3_env) -> str:
    url = s3_env.url()
    place = open_bucket(url, os.environ)
    for name in ("a.csv", "b.csv", "_x.csv", "sub/d.csv", "notes.txt"):
        place.write(name, name.encode())
    return url


def test_files_of_a_bucket_are_found_and_read(bucket: str) -> None:
    files = FileInput()
    assert [name.removeprefix(bucket) for name in names(f"{bucket}/*.csv")] == ["/a.csv", "/b.csv"]
    assert [name.removeprefix(bucket) for name in names(f"{bucket}/**/*.csv")] == ["/a.csv", "/b.csv", "/sub/d.csv"]
    (one,) = files.find(f"{bucket}/sub/d.csv")
    with files.fetch(one) as path:
        assert path.read_bytes() == b"sub/d.csv"
        assert path.suffix == ".csv"
    assert not path.exists()
    with pytest.raises(NotFound):
        files.find(f"{bucket}/*.parquet")


def test_an_object_that_changed_since_it_was_listed_is_not_read(bucket: str) -> None:
    (one,) = FileInput().find(f"{bucket}/a.csv")
    open_bucket(bucket, os.environ).write("a.csv", b"other")
    with pytest.raises(Unavailable, match="changed"), FileInput().fetch(one):
        pass


def test_storage_that_is_not_there_is_unavailable_and_a_missing_bucket_named(s3_env, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no-such-bucket"):
        FileInput().find("s3://no-such-bucket/*.csv")
    environ = {**s3_env.env, "AWS_ENDPOINT_URL": "https://example.org"}
    with pytest.raises(InvalidInput, match="not encrypted"):
        FileInput({**environ, "AWS_ENDPOINT_URL": "http://example.org"}).find("s3://bucket/x.csv")
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL"):
        FileInput({**environ, "AWS_ENDPOINT_URL": "http://localhost.example.org"}).find("s3://bucket/x.csv")


@pytest.fixture
def shop(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE sales (id INTEGER, at TEXT, amount REAL, note)")
        rows = [(i, f"2013-07-15 {i % 24:02d}:00:00", i / 2, "x") for i in range(100)]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    return f"sqlite:///{tmp_path}/shop.db"


def read(question: WatermarkQuery, rows: int = 30, **environ: str) -> pl.DataFrame:
    return pl.concat(list(SqlInput(environ).batches(question, rows=rows)), how="vertical_relaxed")


def asked(url: str, query: str = "sales", mark: str = "at", kind: str = "timestamp", **bounds: int) -> WatermarkQuery:
    return WatermarkQuery(url, query, mark, kind, **bounds)


def test_a_table_is_read_in_batches_by_ascending_mark(shop: str) -> None:
    batches = list(SqlInput({}).batches(asked(shop), rows=30))
    assert [batch.height for batch in batches] == [30, 30, 30, 10]
    assert pl.concat(batches)["at"].is_sorted()
    assert pl.concat(batches)["id"].sort().to_list() == list(range(100))


def test_marks_are_bound_in_the_form_in_which_the_database_keeps_them(shop: str) -> None:
    six, eight = (parse_time(f"2013-07-15T{hour}:00:00Z") for hour in ("06", "08"))
    assert set(read(asked(shop, since=six, until=eight))["at"]) == {f"2013-07-15 0{hour}:00:00" for hour in (6, 7, 8)}
    assert read(asked(shop, mark="id", kind="int", since=97))["id"].to_list() == [97, 98, 99]
    query = "SELECT *, strftime('%Y-%m-%dT%H:%M:%S.000Z', at) AS t FROM sales"
    assert read(asked(shop, query, "t", since=six, until=six))["id"].to_list() == [6, 30, 54, 78]


def test_a_query_is_taken_as_it_stands_and_colons_and_percents_are_no_parameters(shop: str) -> None:
    query = "WITH s AS (SELECT id, at, '12:30 :name 5%' AS t FROM sales) SELECT * FROM s WHERE id % 50 = 7;"
    assert read(asked(shop, query))["t"].to_list() == ["12:30 :name 5%"] * 2


@pytest.mark.parametrize(
    "query",
    ["DROP TABLE sales", "SELECT 1; DELETE FROM sales", "DELETE FROM sales", "sales; DROP TABLE sales", "SELECT * FROM nowhere", "nowhere", '"'],
)
def test_nothing_can_be_written_and_a_query_that_cannot_be_read_says_so(shop: str, query: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(asked(shop, query))
    assert read(asked(shop)).height == 100


def test_values_of_several_types_stay_what_they_are(shop: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("UPDATE sales SET note = 7 WHERE id = 1")
        connection.execute("UPDATE sales SET note = NULL WHERE id = 2")
        connection.execute("UPDATE sales SET note = x'00ff' WHERE id = 3")
    notes = read(asked(shop, mark="id", kind="int", until=4), rows=100)["note"]
    assert notes.to_list() == ["x", 7, None, b"\x00\xff", "x"]  # bytes are no text: a field refuses them
    assert read(asked(shop, "SELECT 1 AS at, 5 AS id, 6 AS id", kind="int"))["id"].to_list() == [5]


def test_a_url_gets_its_secrets_when_it_is_opened_and_no_error_shows_them(tmp_path: Path, shop: str) -> None:
    assert read(asked(shop.replace("shop.db", "${NAME}.db")), NAME="shop").height == 100
    assert read(asked("${SHOP}"), SHOP=shop).height == 100
    with pytest.raises(InvalidInput, match="environment variable NAME"):
        read(asked("sqlite:///${NAME}.db"))
    for url in (
        "postgresql://u:${SECRET}@127.0.0.1:1/x",
        "postgresql://u@127.0.0.1:1/x?password=${SECRET}",
        "sqlite:///${SECRET}",
        "mysql://u:${SECRET}@h/d",
    ):
        with pytest.raises((InvalidInput, Unavailable)) as failed:
            read(asked(url), SECRET="hunter:2/@")
        assert "hunter" not in f"{failed.value} {failed.value.facts}"
        assert failed.value.__cause__ is None


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite://", "nonsense", "sqlite:///file:x?mode=rwc", "oracle://h/d", "postgresql://h:port/d"])
def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        read(asked(url))


def test_a_database_that_is_not_there_is_unavailable_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no SQLite file at"):
        read(asked(f"sqlite:///{tmp_path}/none.db"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "no.db").write_text("this is no database, whatever its name says" * 100)
    with pytest.raises(Unavailable, match=r"no\.db"):
        read(asked(f"sqlite:///{tmp_path}/no.db"))


def test_an_empty_table_has_no_batches_and_null_marks_are_left_out(shop: str) -> None:
    assert list(SqlInput({}).batches(asked(shop, "SELECT * FROM sales WHERE id < 0"), rows=10)) == []
    assert read(asked(shop, "SELECT id, nullif(id, 5) AS mark FROM sales", "mark", "int")).height == 99


@pytest.mark.parametrize(("mark", "kind"), [("note", "timestamp"), ("note", "int"), ("amount", "timestamp")])
def test_a_mark_that_cannot_be_compared_is_named(shop: str, mark: str, kind: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be compared"):
        read(asked(shop, mark=mark, kind=kind, since=1))


@pytest.fixture
def orders(postgres_url: str) -> Iterator[str]:
    pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS orders"))
        connection.execute(
            text(
                "CREATE TABLE orders (id bigint, at timestamptz, local timestamp, day date, price numeric, big numeric, "
                "tags text[], body jsonb, ok bool)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO orders SELECT i, timestamptz '2013-07-15 12:00:00+02' + i * interval '1 minute', timestamp '2013-07-15 12:00:00', "
                """date '2013-07-15', 1.25, 1e30, ARRAY['a', 'b'], '{"k": 1}', i % 2 = 0 FROM generate_series(0, 249) AS i"""
            )
        )
    yield postgres_url
    engine.dispose()


def test_postgresql_types_come_as_columns(orders: str) -> None:
    row = read(asked(orders, "orders"), rows=100).row(0, named=True)
    assert row == {
        "id": 0,
        "at": datetime(2013, 7, 15, 10, tzinfo=UTC),
        "local": datetime(2013, 7, 15, 12, tzinfo=UTC),
        "day": datetime(2013, 7, 15, tzinfo=UTC),
        "price": 1.25,
        "big": 10**30,
        "tags": '["a", "b"]',
        "body": '{"k": 1}',
        "ok": True,
    }


@pytest.mark.parametrize("mark", ["at", "local", "day"])
def test_postgresql_is_read_from_a_mark_on(orders: str, mark: str) -> None:
    start = {"at": datetime(2013, 7, 15, 12, 5, tzinfo=timezone(timedelta(hours=2))), "local": datetime(2013, 7, 15, 12, tzinfo=UTC)}
    since = int(start.get(mark, datetime(2013, 7, 15, tzinfo=UTC)).timestamp() * 1e6)
    batches = list(SqlInput({}).batches(asked(orders, "SELECT * FROM public.orders WHERE tags[1]::text = 'a'", mark, since=since), rows=100))
    assert pl.concat(batches).height == (245 if mark == "at" else 250)
    if mark == "at":
        assert pl.concat(batches)["id"].to_list() == list(range(5, 250))
    assert sum(len(b) for b in SqlInput({}).batches(asked(orders, "public.orders", mark, since=since + 86_400_000_000), rows=100)) == 0


@pytest.mark.parametrize(
    "query", ["DELETE FROM orders RETURNING id, at", "SELECT pg_terminate_backend(0), at FROM nope", "SELECT setval('x', 1) AS at"]
)
def test_postgresql_writes_nothing_for_us(orders: str, query: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(asked(orders, query))
    assert read(asked(orders, "orders")).height == 250


def test_a_writing_function_in_a_select_is_stopped_by_postgresql(orders: str) -> None:
    engine = create_engine(orders.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.begin() as connection:
        body = "BEGIN DELETE FROM orders; RETURN now(); END"
        connection.execute(text(f"CREATE OR REPLACE FUNCTION wipe() RETURNS timestamptz LANGUAGE plpgsql AS $$ {body} $$"))
    with pytest.raises((InvalidInput, Unavailable), match="read-only"):
        read(asked(orders, "SELECT wipe() AS at"))
    assert read(asked(orders, "orders")).height == 250


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the driver's cursor cannot be closed any more
def test_a_database_that_goes_away_in_the_middle_is_unavailable(orders: str) -> None:
    engine = create_engine(orders.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    batches = SqlInput({}).batches(asked(orders, "SELECT o.* FROM orders o, generate_series(1, 2000)"), rows=1_000)
    assert next(batches).height == 1_000
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state IS NOT NULL"))
    with pytest.raises(Unavailable, match="retry"):
        for _ in batches:
            pass
    del batches
    gc.collect()


def test_the_limit_on_names_is_large_enough_for_a_years_hourly_files() -> None:
    assert found_files.MOST_NAMES > 100 * 365 * 24
