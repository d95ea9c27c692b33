"""ZIP archives from outside, looked at before anything is unpacked: how many entries, of which names and kinds, and how much they unpack to.

A few kilobytes can say that they unpack to terabytes, or hold a name that leads out of the folder into which they are unpacked. What an
entry says of its size binds: reading gives no more than that. Archives within archives are for who opens them to look at in the same way.
"""

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rota.errors import Corrupt

MOST_ENTRIES = 100_000
LONGEST_NAME = 1_024
LONGEST_PART = 255
DEEPEST_NAME = 100
LARGEST_RATIO = 200
RATIO_FROM_BYTES = 100_000_000
"""Up to so much is unpacked whatever it was packed to."""
_ENTRY_BYTES = 46 + LONGEST_NAME
_SIZE_OF_DIRECTORY = 5  # its place in what zipfile reads off the end of an archive
_ENCRYPTED = 0x1
_KINDS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, struct.error, UnicodeDecodeError)


@contextmanager
def opened(source: Path | bytes, what: str, *, most_bytes: int) -> Iterator[zipfile.ZipFile]:
    """An archive whose entries are what this module allows, and unpack to at most so many bytes together.

    Raises `Corrupt`, naming the archive as `what`, the entry and the limit, for any other, and for damage that is met while it is read.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001 - a ZipFile reads the whole directory first
            if end and end[_SIZE_OF_DIRECTORY] > MOST_ENTRIES * _ENTRY_BYTES:
                raise _refused(what, f"its directory has {end[_SIZE_OF_DIRECTORY]} bytes, more than {MOST_ENTRIES} entries need")
            with zipfile.ZipFile(file) as archive:
                _check(archive, what, most_bytes)
                yield archive
        except _DAMAGE as error:
            raise Corrupt(f"{what} is no archive that can be read ({type(error).__name__}: {error}); get it again from where it was made") from error


def name_fault(name: str) -> str:
    """What is wrong with the name of a file that somebody else wrote, "" for a relative path of printable characters that leads nowhere else."""
    parts = name.removesuffix("/").split("/")
    return (
        (f"has a name of more than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else "")
        or (f"lies in more than {DEEPEST_NAME} folders" if len(parts) > DEEPEST_NAME else "")
        or ("has a character in its name that cannot be printed" if not name.isprintable() else "")
        or ("has a name that leads elsewhere" if "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts) else "")
        or (f"has a part of its name of more than {LONGEST_PART} bytes" if any(len(part.encode()) > LONGEST_PART for part in parts) else "")
    )


def _check(archive: zipfile.ZipFile, what: str, most_bytes: int) -> None:
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise _refused(what, f"it has {len(entries)} entries, at most {MOST_ENTRIES} are taken")
    names: set[str] = set()
    for entry in entries:
        fault = _fault(entry) or ("is there twice" if entry.filename in names else "")
        if fault:
            raise _refused(what, f"its entry {entry.filename[:100]!r} {fault}")
        names.add(entry.filename)
    unpacked, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if unpacked > most_bytes:
        raise _refused(what, f"it unpacks to {unpacked} bytes; it may have {most_bytes}")
    if unpacked > RATIO_FROM_BYTES and unpacked > LARGEST_RATIO * packed:
        raise _refused(what, f"its {packed} bytes unpack to {unpacked}, more than {LARGEST_RATIO} times as many")


def _fault(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return (
        name_fault(entry.orig_filename)  # zipfile cuts a name at a NUL
        or ("is a link or another thing that is no file" if kind not in (0, stat.S_IFREG, stat.S_IFDIR) else "")
        or ("is encrypted" if entry.flag_bits & _ENCRYPTED else "")
        or (f"is packed in a way that is not read (method {entry.compress_type})" if entry.compress_type not in _KINDS else "")
    )


def _refused(what: str, why: str) -> Corrupt:
    return Corrupt(f"{what} is not unpacked: {why}; make it again without that")
