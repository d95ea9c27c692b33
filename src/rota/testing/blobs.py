"""BlobsContract: the law of `rota.ports.blobs.Blobs` as tests. Needs pytest."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rota.errors import Corrupt, InvalidInput, NotFound
from rota.ports.blobs import Blobs
from rota.testing.contract import EngineContract


class BlobsContract(EngineContract):
    """Give the fixture `blobs`, an empty store, and override `damage`, which changes a stored blob's bytes."""

    def damage(self, blobs: Any, digest: str) -> None:
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"x", b"\0" * 100, os.urandom(3_000_000)], ids=["empty", "one byte", "zeros", "large"])
    def test_what_was_put_is_got_back_under_its_sha256(self, blobs: Blobs, data: bytes) -> None:
        digest = blobs.put(data)
        assert digest == hashlib.sha256(data).hexdigest()
        assert blobs.get(digest) == data
        assert blobs.exists(digest)

    def test_putting_twice_stores_once(self, blobs: Blobs) -> None:
        assert blobs.put(b"same") == blobs.put(b"same")
        assert list(blobs.digests()) == [hashlib.sha256(b"same").hexdigest()]

    def test_every_digest_is_listed(self, blobs: Blobs) -> None:
        assert list(blobs.digests()) == []
        assert sorted(blobs.digests()) == sorted(blobs.digests())
        assert set(map(blobs.put, (b"a", b"b", b"c"))) == set(blobs.digests())

    def test_an_unknown_digest_is_not_found(self, blobs: Blobs) -> None:
        unknown = "0" * 64
        with pytest.raises(NotFound, match=unknown):
            blobs.get(unknown)
        assert not blobs.exists(unknown)

    def test_deleting_removes_and_deleting_again_is_harmless(self, blobs: Blobs) -> None:
        digest = blobs.put(b"gone")
        blobs.delete(digest)
        blobs.delete(digest)
        assert not blobs.exists(digest)
        assert list(blobs.digests()) == []

    def test_a_damaged_blob_is_corrupt_until_it_is_put_again(self, blobs: Blobs) -> None:
        digest = blobs.put(b"precious")
        self.damage(blobs, digest)
        with pytest.raises(Corrupt, match=digest):
            blobs.get(digest)
        blobs.put(b"precious")
        assert blobs.get(digest) == b"precious"

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", "/" + "a" * 63, None])
    def test_a_text_that_is_no_digest_is_refused(self, blobs: Blobs, digest: Any) -> None:
        for verb in (blobs.get, blobs.stream, blobs.size, blobs.exists, blobs.delete, blobs.touched_us, lambda text: blobs.expire(text, 1)):
            with pytest.raises(InvalidInput):
                verb(digest)

    @pytest.mark.parametrize("sizes", [[], [0, 0], [1, 0, 2], [3_000_000, 1, 2_500_000], [20_000] * 300], ids=str)
    def test_a_stream_is_stored_like_the_bytes_it_carries(self, blobs: Blobs, sizes: list[int]) -> None:
        chunks = [os.urandom(size) for size in sizes]
        digest, size = blobs.put_stream(iter(chunks))
        data = b"".join(chunks)
        assert (digest, size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert blobs.get(digest) == data
        assert blobs.size(digest) == len(data)
        pieces = list(blobs.stream(digest))
        assert b"".join(pieces) == data
        assert all(0 < len(piece) <= 16_000_000 for piece in pieces)
        assert list(blobs.digests()) == [digest]
        assert blobs.put(data) == digest

    def test_a_stream_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        def breaking() -> Iterator[bytes]:
            yield b"x" * 10_000_000
            raise KeyError("the caller's own error")

        with pytest.raises(KeyError, match="the caller's own"):
            blobs.put_stream(breaking())
        assert list(blobs.digests()) == []

    def test_a_damaged_blob_is_noticed_at_the_end_of_its_stream_and_mended_by_another(self, blobs: Blobs) -> None:
        digest, _ = blobs.put_stream([b"precious"])
        self.damage(blobs, digest)
        with pytest.raises(Corrupt, match=digest):
            list(blobs.stream(digest))
        blobs.put_stream([b"prec", b"ious"])
        assert list(blobs.stream(digest)) == [b"precious"]

    def test_an_unknown_digest_has_no_stream_and_no_size(self, blobs: Blobs) -> None:
        for verb in (blobs.stream, blobs.size):
            with pytest.raises(NotFound, match="0" * 64):
                verb("0" * 64)

    def test_a_blob_expires_only_when_nobody_put_it_since(self, blobs: Blobs) -> None:
        digest = blobs.put(b"old")
        touched = blobs.touched_us(digest)
        assert abs(touched - time.time_ns() // 1_000) < 3_600_000_000
        assert blobs.expire(digest, touched) is False
        assert blobs.get(digest) == b"old"
        assert blobs.expire(digest, touched + 1) is True
        assert not blobs.exists(digest)
        assert blobs.expire(digest, touched + 1) is False
        with pytest.raises(NotFound, match=digest):
            blobs.touched_us(digest)

    def test_putting_again_makes_a_blob_young(self, blobs: Blobs) -> None:
        digest = blobs.put(b"same")
        touched = blobs.touched_us(digest)
        while blobs.touched_us(digest) == touched:  # a store may count in whole seconds
            assert blobs.put(b"same") == digest
        assert blobs.expire(digest, touched + 1) is False
        assert blobs.get(digest) == b"same"

    def test_threads_may_put_the_same_bytes_at_once(self, blobs: Blobs) -> None:
        data = os.urandom(200_000)
        with ThreadPoolExecutor(8) as pool:
            digests = set(pool.map(blobs.put, [data] * 32))
        assert len(digests) == 1
        assert blobs.get(digests.pop()) == data
