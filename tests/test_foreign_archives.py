"""Archives that are bombs, lead elsewhere or lie about what they hold: refused before anything of them is unpacked."""

import hashlib
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC

from rota import foreign_archives
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.models.skops_format import SkopsFormat
from rota.errors import Corrupt, InvalidInput
from rota.operationalize import release
from rota.records.run import PipelineRelease
from rota.serve import embedded

Fill = Callable[[zipfile.ZipFile], None]


def archive(fill: Fill, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as into:
        fill(into)
    return made.getvalue()


def named(name: str, *, mode: int = 0, twice: bool = False) -> Fill:
    def fill(into: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("x" * len(name))
        entry.filename = name
        entry.external_attr = mode << 16
        into.writestr(entry, b"import os")
        if twice:
            into.fp.write(b"")  # type: ignore[union-attr]
            into.filelist.append(into.filelist[0])

    return fill


def zeros(megabytes: int) -> Fill:
    def fill(into: zipfile.ZipFile) -> None:
        with into.open("a.py", "w", force_zip64=True) as entry:
            for _ in range(megabytes):
                entry.write(bytes(1_000_000))

    return fill


BOMB = archive(zeros(120))


def overlapping(count: int) -> bytes:
    """One packed entry of 1 MB that a directory names many times: it unpacks to `count` MB."""
    plain = archive(zeros(1))
    with zipfile.ZipFile(io.BytesIO(plain)) as read:
        start = read.start_dir
    entry = plain[start : start + 46 + 4]
    directory = b"".join(entry[:46] + f"{number:04}".encode() for number in range(count))
    head = plain[:start][:30] + plain[:start][30:]
    return head + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)


REFUSED = [
    (archive(named("/etc/cron.d/x.py")), "leads elsewhere"),
    (archive(named("../../x.py")), "leads elsewhere"),
    (archive(named("a/../../x.py")), "leads elsewhere"),
    (archive(named("..\\..\\x.py")), "leads elsewhere"),
    (archive(named("C:/x.py")), "leads elsewhere"),
    (archive(named("a//x.py")), "leads elsewhere"),
    (archive(named("a\nb.py")), "cannot be printed"),
    (archive(named("a\x1b[2Jb.py")), "cannot be printed"),
    (archive(named("a\u202eb.py")), "cannot be printed"),
    (archive(named("x" * 1_200)), "more than 1024 characters"),
    (archive(named("x" * 300)), "more than 255 bytes"),
    (archive(named("x/" * 150 + "x")), "more than 100 folders"),
    (archive(named("x.py", mode=0o120777)), "is a link"),
    (archive(named("x.py", mode=0o010666)), "is a link or another thing"),
    (archive(named("x.py", twice=True)), "is there twice"),
    (BOMB, "it unpacks to 120000000 bytes; it may have 50000000"),
    (b"PK\3\4 no archive", "no archive that can be read"),
    (BOMB[:-10], "no archive that can be read"),
]


def unpacked(bundle: bytes, root: Path) -> Path:
    blobs = MemoryBlobs()
    digest = blobs.put(bundle)
    made = PipelineRelease(
        hashlib.sha256(bundle).hexdigest(), project="p", bundle=digest, module="project", commit="", dirty=False, lock="", python="", created_us=0
    )
    return release.unpack(blobs, made, root)


@pytest.mark.parametrize(("bundle", "words"), REFUSED)
def test_a_bundle_of_sources_from_elsewhere_writes_nothing(bundle: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match=words):
        unpacked(bundle, tmp_path / "root")
    assert list(tmp_path.rglob("*")) == [tmp_path / "root"]


@pytest.mark.parametrize(("file", "words"), REFUSED[1:15:4] + REFUSED[-2:])
def test_a_model_file_of_another_program_is_looked_at_in_the_same_way(file: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.rota").write_bytes(file)
    with pytest.raises(Corrupt, match=words):
        embedded.open_file(tmp_path / "m.rota", {})


def test_a_bomb_is_refused_by_its_ratio_before_a_byte_is_unpacked() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="unpack to 120000000, more than 200 times as many"), foreign_archives.opened(BOMB, "b", most_bytes=10**10):
            pytest.fail("it is open")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_an_entry_that_is_named_many_times_counts_as_often() -> None:
    with pytest.raises(Corrupt, match="it unpacks to 1500000000 bytes"), foreign_archives.opened(overlapping(1_500), "b", most_bytes=10**9):
        pytest.fail("it is open")


def test_more_entries_than_any_archive_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_archives, "MOST_ENTRIES", 3)
    many = archive(lambda into: [into.writestr(f"{n}.py", b"") for n in range(4)] and None)
    with pytest.raises(Corrupt, match="it has 4 entries, at most 3"), foreign_archives.opened(many, "b", most_bytes=10):
        pytest.fail("it is open")
    large = archive(lambda into: [into.writestr(f"{n}/" * 20 + "x" * 250, b"") for n in range(12)] and None)
    with pytest.raises(Corrupt, match=r"its directory has [0-9]+ bytes"), foreign_archives.opened(large, "b", most_bytes=10):
        pytest.fail("it is open")


def test_an_entry_gives_no_more_than_it_says() -> None:
    lying = bytearray(archive(lambda into: into.writestr("a", bytes(3_000_000))))
    with zipfile.ZipFile(io.BytesIO(lying)) as read:
        start = read.start_dir
    lying[start + 24 : start + 28] = struct.pack("<L", 10)  # its unpacked size in the directory
    with pytest.raises(Corrupt, match="no archive that can be read"), foreign_archives.opened(bytes(lying), "b", most_bytes=10) as opened:
        opened.read("a")


# Models of scikit-learn


def skops_of(model: object, change: Callable[[str, bytes], bytes]) -> bytes:
    """The model's archive with entries changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SkopsFormat().kept(model))) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return made.getvalue()


@pytest.fixture(scope="module")
def linear() -> LinearRegression:
    return LinearRegression().fit(np.arange(30.0).reshape(10, 3), np.arange(10.0))


@pytest.fixture(scope="module")
def sparse() -> SVC:
    return SVC().fit(scipy.sparse.csr_matrix(np.eye(6)), [0, 1] * 3)


def array_that_says(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(24)


@pytest.mark.parametrize("shape", ["(1099511627776,)", "(1099511627776, 1099511627776)", "(-3,)", "(2,)", "(4,)"])
def test_an_array_of_another_size_than_it_says_is_never_made(linear: LinearRegression, shape: str) -> None:
    file = skops_of(linear, lambda name, data: array_that_says(shape) if name.endswith(".npy") else data)
    with pytest.raises(InvalidInput, match="says it has the shape"):
        SkopsFormat().imported(file)


@pytest.mark.parametrize("header", [b"\x93NUMPY\1\0\xff\xff" + b" " * 70_000, b"\x93NUMPY\x09\0"])
def test_a_header_that_is_none_is_refused(linear: LinearRegression, header: bytes) -> None:
    with pytest.raises(InvalidInput, match="skops"):
        SkopsFormat().imported(skops_of(linear, lambda name, data: header if name.endswith(".npy") else data))


def test_arrays_that_are_named_many_times_count_as_often(linear: LinearRegression, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.backends.models.sklearn_checks.LARGEST", 100_000)
    fill = b'{"file": "big.npy"}'
    data = io.BytesIO()
    np.save(data, np.zeros(1_000))
    more = b'{"more": [' + b",".join([fill] * 40) + b"],"
    file = io.BytesIO(skops_of(linear, lambda name, old: old.replace(b"{", more, 1) if name == "schema.json" else old))
    with zipfile.ZipFile(file, "a") as into:
        into.writestr("big.npy", data.getvalue())
    with pytest.raises(InvalidInput, match=r"its arrays have [0-9]+ bytes, at most 100000"):
        SkopsFormat().imported(file.getvalue())


def test_a_sparse_matrix_is_an_archive_that_is_looked_at_too(sparse: SVC) -> None:
    with pytest.raises(InvalidInput, match=r"not loaded for safety: \['scipy.sparse._csr.csr_matrix'\]"):
        SkopsFormat().imported(skops_of(sparse, lambda name, data: data))
    bomb = archive(zeros(120))
    for inside, words in ((bomb, "more than 200 times as many"), (archive(lambda into: into.writestr("a.npz", bomb)), "holds another archive")):
        with pytest.raises(InvalidInput, match=words):
            SkopsFormat().imported(skops_of(sparse, lambda name, data, inside=inside: inside if name.endswith(".npz") else data))


def test_a_schema_larger_than_it_can_be_is_not_read(linear: LinearRegression, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.backends.models.sklearn_checks._LARGEST_SCHEMA", 1_000)
    with pytest.raises(InvalidInput, match="at most 1000 are read"):
        SkopsFormat().imported(skops_of(linear, lambda name, data: data))
