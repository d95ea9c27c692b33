"""The file of an LMDB store looked at before it is mapped: whether it is whole, and how a damaged store is set aside.

LMDB maps its file without asking how long it is. Behind the end of a file that was cut off the kernel ends the process (SIGBUS)
when a page is touched, so the sizes are compared first.
"""

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATA = "data.mdb"
SET_ASIDE = ".damaged"
"""What the name of a damaged store's directory ends in; only the last one is kept."""
_META = struct.Struct("<16x I I 8x 8x I")
"""The start of a meta page: page header, magic, version, address, map size, page size."""
_LAST = struct.Struct("<Q Q")
_LAST_AT = 136
"""Where a meta page says which page is the last one, and which transaction wrote it."""
_MAGIC = 0xBEEFC0DE
_VERSION = 1


def fault(directory: Path) -> str:
    """What is wrong with the file of a store, in words; "" when it looks whole, or is not there yet."""
    try:
        with (directory / DATA).open("rb") as file:
            return _fault(file.fileno())
    except FileNotFoundError:
        return ""


def last_page(descriptor: int) -> tuple[int, int]:
    """The number of the last page that the newest transaction knows, and the size of a page in bytes; (-1, 0) without a meta page."""
    found: list[tuple[int, int, int]] = []
    page_bytes, at = 0, 0
    for _ in range(2):
        head = os.pread(descriptor, _LAST_AT + _LAST.size, at)
        if len(head) < _LAST_AT + _LAST.size:
            break
        magic, version, size = _META.unpack_from(head)
        if magic != _MAGIC or version != _VERSION or not 512 <= size <= 65_536:
            break
        last, transaction = _LAST.unpack_from(head, _LAST_AT)
        found.append((transaction, last, size))
        page_bytes = at = size
    return (max(found)[1], page_bytes) if found else (-1, 0)


def set_aside(directory: Path) -> Path:
    """Move the whole store away, data and locks, so that an empty one can be begun; returns where it lies now."""
    aside = directory.with_name(directory.name + SET_ASIDE)
    shutil.rmtree(aside, ignore_errors=True)
    directory.rename(aside)
    return aside


@contextmanager
def one_opener(directory: Path) -> Iterator[None]:
    """One process at a time opens a store, or sets it aside. The lock lies beside the store, which may be moved."""
    descriptor = os.open(directory.with_name(f"{directory.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fault(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return ""
    last, page_bytes = last_page(descriptor)
    if last < 0:
        return "it does not begin like an LMDB file of this version"
    if size < (last + 1) * page_bytes:
        return f"it has {size} bytes, and its newest transaction needs {(last + 1) * page_bytes}"
    return ""
