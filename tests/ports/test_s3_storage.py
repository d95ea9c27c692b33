"""Blobs and tables in an S3-compatible store: the law over both, and what a store without locks can get wrong."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from rota.backends.storage import s3_tables
from rota.backends.storage.delta_places import Life
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.s3_blobs import S3Blobs
from rota.backends.storage.s3_bucket import Bucket, open_bucket
from rota.backends.storage.s3_table_files import BucketTableFiles
from rota.backends.storage.s3_tables import S3Tables, open_storage
from rota.errors import Corrupt, InvalidInput, NotFound, Unavailable
from rota.settings import Settings
from rota.testing.blobs import BlobsContract
from rota.testing.tables import TablesContract, flights, ids_of

KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_SESSION_TOKEN": "t0ken"}


@pytest.fixture
def bucket(s3: Any) -> Bucket:
    return open_bucket(s3.url(), s3.env)


def tables_in(bucket: Bucket) -> DeltaTables:
    """What one more process would open: no lock and no memory shared with others."""
    return DeltaTables(S3Tables(bucket))


class TestS3Blobs(BlobsContract):
    @pytest.fixture
    def blobs(self, bucket: Bucket) -> S3Blobs:
        return S3Blobs(bucket)

    def damage(self, blobs: S3Blobs, digest: str) -> None:
        obstore.put(blobs._bucket.store, f"{digest[:2]}/{digest}", b"damaged")


class TestS3Tables(TablesContract):
    @pytest.fixture
    def tables(self, bucket: Bucket) -> DeltaTables:
        return tables_in(bucket)


def test_a_hostile_digest_makes_no_request(s3: Any, bucket: Bucket) -> None:
    before = len(s3.requests())
    for digest in ("../../other", "A" * 64, None):
        with pytest.raises(InvalidInput):
            S3Blobs(bucket).get(digest)
    assert len(s3.requests()) == before


def test_a_large_blob_comes_back_and_strangers_are_not_listed(bucket: Bucket) -> None:
    blobs = S3Blobs(bucket)
    data = os.urandom(25_000_000)  # sent in parts
    digest = blobs.put(data)
    bucket.write("ab/README", b"stray")
    assert blobs.get(digest) == data
    assert list(S3Blobs(bucket).digests()) == [digest]


@pytest.mark.slow
def test_creators_at_once_make_one_table_with_every_row_once(bucket: Bucket) -> None:
    for table in "abcdef":

        def create(i: int, table: str = table) -> int:
            return tables_in(bucket).append(table, flights(i), batch=(f"w{i}", 0))

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(create, range(4))) == {0, 1, 2, 3}
        assert ids_of(tables_in(bucket).scan(table)) == [0, 1, 2, 3]


@pytest.mark.slow
def test_one_batch_sent_by_several_processes_at_once_is_stored_once(bucket: Bucket) -> None:
    for sequence in range(4):

        def send(writer: DeltaTables, sequence: int = sequence) -> int:
            return writer.append("t", flights(sequence), batch=("drain", sequence))

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(send, [tables_in(bucket) for _ in range(4)])) == {sequence}
        assert ids_of(tables_in(bucket).scan("t")) == list(range(sequence + 1))


@pytest.mark.slow
def test_compactions_at_once_beside_writers_lose_and_double_nothing(bucket: Bucket) -> None:
    first = tables_in(bucket)
    for i in range(8):
        first.append("busy", flights(i))

    def write(writer: int) -> None:
        mine = tables_in(bucket)
        for i in range(5):
            mine.append("busy", flights(100 * writer + i).with_columns(pl.lit(i).cast(pl.Int64).alias(f"new{i % 2}")))

    with ThreadPoolExecutor(5) as pool:
        done = [pool.submit(write, 1), pool.submit(write, 2), *(pool.submit(tables_in(bucket).compact, "busy") for _ in range(3))]
        for each in done:
            each.result()
    last = tables_in(bucket)
    last.compact("busy")
    assert ids_of(last.scan("busy")) == [*range(8), *range(100, 105), *range(200, 205)]
    assert ids_of(last.scan("busy", version=7)) == list(range(8))
    assert len(DeltaTable(bucket.url("busy"), storage_options=dict(bucket.options)).file_uris()) == 1


def test_a_compacted_table_is_read_right_by_filters_and_by_other_engines(bucket: Bucket) -> None:
    tables = tables_in(bucket)
    odd = pl.DataFrame(
        {"id": [7], "x": [float("nan")], "t": [None], "b": [None]}, schema={"id": pl.Int64, "x": pl.Float64, "t": pl.String, "b": pl.Boolean}
    )
    for i in range(4):
        tables.append("t", pl.DataFrame({"id": [i], "x": [float("inf") if i == 2 else -1.5 * i], "t": ["é" * 50 + str(i)], "b": [i > 1]}))
    tables.append("t", odd)
    tables.append("t", pl.DataFrame({"id": [8], "late": [1.0]}))
    before = tables.scan("t").collect().sort("id")
    tables.compact("t")
    assert tables.scan("t").collect().sort("id").equals(before)
    assert tables.scan("t").filter(pl.col("x") == float("inf")).collect()["id"].to_list() == [2]
    assert tables.scan("t").filter(pl.col("t") == "é" * 50 + "3").collect()["id"].to_list() == [3]
    assert tables.scan("t").filter(pl.col("late") > 0).collect()["id"].to_list() == [8]
    other = DeltaTable(bucket.url("t"), storage_options=dict(bucket.options))
    assert other.history(1)[0]["operation"] == "OPTIMIZE"
    assert pl.DataFrame(other.get_add_actions(flatten=True))["num_records"].to_list() == [6]


@pytest.mark.slow
def test_versions_stay_readable_past_checkpoints_and_compactions(bucket: Bucket) -> None:
    tables = tables_in(bucket)
    for i in range(24):
        tables.append("log", flights(i))
        if i == 19:
            assert tables.compact("log") == 20  # a version that is given a checkpoint
    assert any("checkpoint.parquet" in path for path in bucket.paths("log/_delta_log"))
    assert [ids_of(tables.scan("log", version=v)) for v in (0, 19, 20, 22)] == [[0], list(range(20)), list(range(20)), list(range(22))]
    assert ids_of(tables_in(bucket).scan("log")) == list(range(24))


@pytest.mark.parametrize("batch", [None, ("drain", 1)], ids=["no batch", "batch"])
@pytest.mark.parametrize("created", [False, True], ids=["first", "second"])
def test_an_append_whose_answer_was_lost_is_not_repeated(s3: Any, bucket: Bucket, batch: Any, created: bool) -> None:
    tables = tables_in(bucket)
    if created:
        tables.append("t", flights(0))
    s3.lose_answer(r"PUT .*_delta_log/\d+\.json")
    assert tables.append("t", flights(1), batch=batch) == int(created)
    assert not (s3.folder / "lose").exists()
    assert ids_of(tables_in(bucket).scan("t")) == ([0, 1] if created else [1])


def test_a_compaction_whose_answer_was_lost_doubles_nothing(s3: Any, bucket: Bucket) -> None:
    tables = tables_in(bucket)
    for i in range(3):
        tables.append("t", flights(i))
    s3.lose_answer(r"PUT .*_delta_log/\d+\.json")
    assert tables.compact("t") == 3
    assert ids_of(tables.scan("t")) == [0, 1, 2]


def test_a_drop_is_seen_by_every_process_and_the_next_table_is_another_one(bucket: Bucket) -> None:
    here, there = tables_in(bucket), tables_in(bucket)
    for life in range(3):
        assert there.version("t") is None
        assert here.append("t", flights(life), batch=("w", 0)) == 0
        assert ids_of(there.scan("t")) == [life]
        there.drop("t")
        assert here.version("t") is None
        assert here.tables() == []
        with pytest.raises(NotFound):
            here.compact("t")
    assert not [path for path in bucket.paths() if path.endswith((".parquet", ".json"))]


@pytest.mark.slow
def test_a_drop_beside_writers_leaves_a_table_or_none_but_no_half_one(bucket: Bucket) -> None:
    for number in range(4):
        writers = [tables_in(bucket) for _ in range(2)]

        def write(i: int, writers: list[DeltaTables] = writers, table: str = f"t{number}") -> list[int]:
            return [writers[i].append(table, flights(10 * i + part)) for part in range(4)]

        with ThreadPoolExecutor(4) as pool:
            appended = [pool.submit(write, 0), pool.submit(write, 1)]
            dropped = [pool.submit(tables_in(bucket).drop, f"t{number}") for _ in range(2)]
            for each in [*appended, *dropped]:
                each.result()
        last = tables_in(bucket)
        version = last.version(f"t{number}")
        found = [] if version is None else ids_of(last.scan(f"t{number}"))
        assert len(found) == len(set(found)) == (0 if version is None else version + 1)
        if found:  # whatever came last of each writer came after the drop
            assert {3, 13} & set(found)
        last.append(f"t{number}", flights(99))
        assert ids_of(last.scan(f"t{number}")) == [*found, 99]


class Slow(S3Tables):
    """A process that something happens to between learning where a table lies and writing to it."""

    def __init__(self, bucket: Bucket, meanwhile: Callable[[], object]) -> None:
        super().__init__(bucket)
        self._meanwhile = [meanwhile]

    def life(self, table: str) -> Life:
        found = super().life(table)
        while self._meanwhile:
            self._meanwhile.pop()()
        return found


@pytest.mark.parametrize("rest", ["swept", "left"])
def test_rows_appended_while_the_table_was_dropped_go_into_the_next_one(bucket: Bucket, rest: str) -> None:
    there = tables_in(bucket)
    there.append("t", flights(0), batch=("w", 5))
    drop = (lambda: there.drop("t")) if rest == "swept" else (lambda: bucket.write("t/_dropped/00000000", b""))
    assert DeltaTables(Slow(bucket, drop)).append("t", flights(1), batch=("w", 0)) == 0
    assert ids_of(there.scan("t")) == [1]
    assert there.version("t") == 0


class Dying(Bucket):
    """A place whose process dies in the middle of deleting."""

    def delete(self, *paths: str) -> None:
        super().delete(*paths[len(paths) // 2 :])
        raise SystemExit


def test_a_drop_that_dies_while_deleting_leaves_no_table(bucket: Bucket) -> None:
    tables = tables_in(bucket)
    for i in range(4):
        tables.append("t", flights(i))
    with pytest.raises(SystemExit):
        tables_in(Dying(bucket.name, bucket.prefix, bucket.endpoint, bucket.options)).drop("t")
    assert (tables.version("t"), tables.tables()) == (None, [])
    assert tables.append("t", flights(9)) == 0
    assert ids_of(tables.scan("t")) == [9]


def test_what_a_killed_drop_left_is_removed_by_the_next_one(bucket: Bucket) -> None:
    tables = tables_in(bucket)
    tables.append("t", flights(1))
    bucket.write("t/_dropped/00000000", b"")  # all that the killed one came to
    assert tables.version("t") is None
    tables.append("t", flights(2))
    tables_in(bucket).drop("t")
    assert sorted(bucket.paths("t")) == ["t/_dropped/00000000", "t/_dropped/00000001"]


def test_a_blob_that_the_store_lost_half_of_is_corrupt_not_empty(bucket: Bucket) -> None:
    tables = tables_in(bucket)
    tables.append("t", flights(1))
    tables.append("t", flights(2))
    bucket.delete(f"t/_delta_log/{0:020d}.json")
    with pytest.raises((Corrupt, Unavailable), match="'t'"):
        tables_in(bucket).append("t", flights(3))


@pytest.mark.parametrize("feature", ["deletionVectors", "columnMapping"])
def test_a_foreign_table_whose_files_are_not_its_rows_is_refused_by_name(bucket: Bucket, feature: str) -> None:
    configuration = {"deletionVectors": {"delta.enableDeletionVectors": "true"}, "columnMapping": {"delta.columnMapping.mode": "name"}}[feature]
    write_deltalake(bucket.url("foreign"), flights(1), storage_options=dict(bucket.options), configuration=configuration)
    with pytest.raises(InvalidInput, match=feature):
        tables_in(bucket).scan("foreign")
    with pytest.raises(InvalidInput, match=feature):
        tables_in(bucket).append("foreign", flights(2))


def every_verb(bucket: Bucket) -> Iterator[Callable[[], object]]:
    """One request of each kind to a store that will refuse it."""
    blobs, tables = S3Blobs(bucket), tables_in(bucket)
    yield lambda: blobs.put(b"x")
    yield lambda: blobs.get("0" * 64)
    yield lambda: list(blobs.digests())
    yield lambda: tables.append("t", flights(1))
    yield lambda: tables.version("t")
    yield tables.tables


def test_a_missing_bucket_is_named_with_the_way_out(s3: Any) -> None:
    for verb in every_verb(open_bucket("s3://no-such-bucket/here", s3.env)):
        with pytest.raises(Unavailable, match="no bucket 'no-such-bucket'; create it"):
            verb()


def test_refused_credentials_say_which_variables_to_check_and_not_what_they_hold(s3: Any) -> None:
    for verb in every_verb(open_bucket(s3.url(), {**s3.env, **KEYS})):
        with pytest.raises(Unavailable, match="AWS_ACCESS_KEY_ID") as raised:
            verb()
        assert "hunter2" not in str(raised.value)
        assert "t0ken" not in str(raised.value.facts)


def test_a_store_that_does_not_answer_is_named(s3: Any) -> None:
    for verb in every_verb(open_bucket("s3://bucket/here", {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9.*AWS_ENDPOINT_URL"):
            verb()


@pytest.mark.parametrize(
    "url", ["", "bucket", "file:///tmp/x", "https://bucket/x", "s3://", "s3:///x", "s3://UPPER", "s3://bucket/../x", "s3://bucket/a//b", "s3://bu/x"]
)
def test_an_address_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"s3://|storage URL"):
        open_bucket(url, {})


def test_keys_do_not_belong_into_the_address_and_are_never_shown() -> None:
    with pytest.raises(InvalidInput) as raised:
        open_bucket("s3://key:hunter2@bucket/x", {})
    assert "hunter2" not in str(raised.value)
    with pytest.raises(InvalidInput) as raised:
        Settings(storage_url="s3://key:hunter2@bucket/x")
    assert "hunter2" not in str(raised.value)
    bucket = open_bucket("s3://bucket/x", KEYS)
    for shown in (repr(bucket), str(bucket), str(DeltaTables(S3Tables(bucket))._place)):
        assert "hunter2" not in shown
        assert "t0ken" not in shown


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"])
def test_an_endpoint_of_this_machine_may_be_unencrypted(endpoint: str) -> None:
    assert open_bucket("s3://bucket", {"AWS_ENDPOINT_URL": endpoint}).options["AWS_ALLOW_HTTP"] == "true"


def test_another_machines_endpoint_must_be_encrypted_unless_somebody_says_otherwise() -> None:
    away = {"AWS_ENDPOINT_URL": "http://storage.example:9000"}
    with pytest.raises(InvalidInput, match="AWS_ALLOW_HTTP"):
        open_bucket("s3://bucket", away)
    assert open_bucket("s3://bucket", {**away, "AWS_ALLOW_HTTP": "true"}).options["AWS_ALLOW_HTTP"] == "true"
    assert "AWS_ALLOW_HTTP" not in open_bucket("s3://bucket", {"AWS_ENDPOINT_URL": "https://storage.example", "AWS_ALLOW_HTTP": "true"}).options
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL"):
        open_bucket("s3://bucket", {"AWS_ENDPOINT_URL": "https://user:hunter2@storage.example"})


def test_opening_makes_no_request(s3_env: Any) -> None:
    before = len(s3_env.requests())
    open_storage(s3_env.url())
    assert len(s3_env.requests()) == before


def test_writers_of_a_bucket_wait_while_a_backup_looks_for_its_moment(s3_env: Any) -> None:
    url = s3_env.url()
    files = BucketTableFiles(url)
    _, tables = open_storage(url)
    rows, stop = pl.DataFrame({"x": [1]}), threading.Event()

    def write() -> None:
        while not stop.is_set():
            tables.append("t", rows)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            quiet = []
            for _ in range(6):
                with files.standing():
                    before = files.versions()
                    time.sleep(0.5)
                    quiet.append(before == files.versions() and bool(before))
        finally:
            stop.set()
        writing.result()
        assert sum(quiet[3:]) >= 2, "they are held back, but for what takes longer than SETTLED_S"
        assert False in quiet[:3], "and only after some looks"


def test_a_killed_backup_holds_writers_of_a_bucket_up_for_a_while_and_once(s3_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_tables, "LONGEST_HOLD_S", 0.3)
    monkeypatch.setattr(s3_tables, "HOLD_LOOK_S", 0.0)
    url = s3_env.url()
    _, tables = open_storage(url)
    open_bucket(url).write("tables/_hold", b"of one that was killed")
    for _ in range(3):
        tables.append("t", pl.DataFrame({"x": [1]}))
    assert tables.version("t") == 2
    assert list(tables.tables()) == ["t"]
