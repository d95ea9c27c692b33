"""Files that a pattern or a folder leads to: regular ones only, counted while they are looked for, so that every search ends.

A pipe, a device and what the kernel shows as files would be read for ever; a link to a folder may lead in a circle.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rota.errors import InvalidInput, Unavailable

MOST_NAMES = 1_000_000
"""Names that one search looks at."""
LONGEST_PATTERN = 4_096
DEEPEST_PATTERN = 200
WILDCARD = re.compile(r"[*?\[]")
_KERNEL = ("/proc", "/sys")
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""Nothing is there: also where a name is longer than any, and where links lead in a circle."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file and what the file system says of it."""

    path: Path
    about: os.stat_result


def matching(pattern: str) -> list[FoundFile]:
    """What a path or pattern matches: `*`, `?` and `[...]` within one part of it, `**` for any number of folders.

    Wildcards pass over names that begin with "." or "_", and `**` follows no links. Raises `InvalidInput` for a pattern that is none or
    would look at more than MOST_NAMES names, and for a path to something that is neither a regular file nor a folder.
    """
    check_pattern(pattern)
    if not WILDCARD.search(pattern) or _stat(Path(pattern)) is not None:
        return _named(Path(pattern))
    return _PatternWalk(pattern).found()


def below(folder: Path, *, links: bool = False) -> list[Path]:
    """The regular files below a folder by path, with those that links lead to if so wanted; links to folders are never followed.

    Raises `InvalidInput` where there are more than MOST_NAMES names, `Unavailable` where a folder cannot be read.
    """
    refuse_kernel_files(folder)
    count, found = _Count(str(folder)), []
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    count.add(1)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False) or (links and regular(Path(entry.path)) is not None):
                        found.append(Path(entry.path))
        except OSError as error:
            raise Unavailable(f"{error.filename} cannot be read: {error.strerror}; check its permissions", path=str(error.filename)) from error
    return sorted(found)


def regular(path: Path) -> FoundFile | None:
    """The regular file at a path, None where there is nothing or something else; `Unavailable` where it cannot be looked at."""
    about = _stat(path)
    if about is None or not stat.S_ISREG(about.st_mode):
        return None
    if not about.st_blocks:  # as the kernel's own, and small files of some file systems
        refuse_kernel_files(path)
    return FoundFile(path, about)


def refuse_kernel_files(path: Path) -> None:
    """Raise `InvalidInput` for what the kernel shows as files: they have no size, and some have no end."""
    real = os.path.realpath(path)
    if any(real == each or real.startswith(f"{each}/") for each in _KERNEL):
        raise InvalidInput(f"{str(path)!r} is no file on a disk but what the kernel shows; give files of your own", path=str(path))


def check_pattern(pattern: str) -> None:
    """Raise `InvalidInput` for what is no path or pattern."""
    if not pattern or "\0" in pattern or len(pattern) > LONGEST_PATTERN:
        raise InvalidInput(f"{pattern!r:.200} is no path of 1 to {LONGEST_PATTERN} characters", path=pattern[:200])
    if pattern.count("/") > DEEPEST_PATTERN:
        raise InvalidInput(f"{pattern[:200]!r}... has {pattern.count('/')} folders within each other, at most {DEEPEST_PATTERN} are looked into")
    if pattern.count("**") > 1:
        raise InvalidInput(f"{pattern!r} has more than one '**'; one is enough for any depth", path=pattern)


def expression(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over whole names, which takes linear time whatever the name is."""
    made, at = _Expression(), 0
    start = True  # at the beginning of a part, where a wildcard does not stand for "." or "_"
    while at < len(pattern):
        char = pattern[at]
        hidden = "(?![._])" if start else ""
        if pattern.startswith("**/", at) and start:
            made.add_folders()
            at += 3
            continue
        closing = pattern.find("]", at + 2)
        if char == "*":
            made.add_star(hidden)
            while pattern.startswith("*", at + 1):
                at += 1
        elif char == "?":
            made.add(hidden + "[^/]")
        elif char == "[" and closing > 0:
            inside = pattern[at + 1 : closing].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            made.add(hidden + "(?!/)[" + ("^" + inside[1:] if inside.startswith("!") else inside) + "]")
            at = closing
        else:
            made.add(re.escape(char))
        start = char == "/"
        at += 1
    try:
        return re.compile(made.whole(), re.DOTALL)
    except re.error as error:
        raise InvalidInput(f"{pattern!r} is no pattern: {error}", path=pattern) from error


class _Expression:
    """A regular expression that grows. Of two stars the first one takes the first place that fits, as `fnmatch` does it: no other is tried."""

    def __init__(self) -> None:
        self._text, self._star, self._behind = "", "", ""

    def add(self, part: str) -> None:
        if self._star:
            self._behind += part
        else:
            self._text += part

    def add_star(self, hidden: str) -> None:
        if self._star:
            self._text += f"(?>{self._star}?{self._behind})"
        self._star, self._behind = f"{hidden}[^/]*", ""

    def add_folders(self) -> None:
        self._text = self.whole() + "(?:(?![._])[^/]+/)*"
        self._star = self._behind = ""

    def whole(self) -> str:
        return self._text + self._star + self._behind


class _Count:
    """The names that one search has looked at."""

    def __init__(self, shown: str) -> None:
        self._shown, self._seen = shown, 0

    def add(self, more: int) -> None:
        self._seen += more
        if self._seen > MOST_NAMES:
            raise InvalidInput(f"{self._shown!r} would look at more than {MOST_NAMES} names; give a narrower pattern", path=self._shown)


class _PatternWalk:
    """A walk through folders along the parts of a pattern."""

    def __init__(self, pattern: str) -> None:
        self._path = Path(pattern)
        self._count = _Count(pattern)

    def found(self) -> list[FoundFile]:
        path = self._path
        parts = list(path.parts)
        start = Path(path.anchor) if path.is_absolute() else Path()
        return self._below(start, parts[1:] if path.is_absolute() else parts)

    def _below(self, folder: Path, parts: list[str]) -> list[FoundFile]:
        part, rest = parts[0], parts[1:]
        if part == "**":
            # "**" at the end stands for every file below
            return [file for each in self._folders(folder) for file in self._below(each, rest or ["*"])]
        if not WILDCARD.search(part):
            return self._below(folder / part, rest) if rest else _among(folder, [part])
        wanted = expression(part)
        names = sorted(name for name in self._names(folder) if wanted.fullmatch(name))
        if not rest:
            return _among(folder, names)
        return [file for name in names if (folder / name).is_dir() for file in self._below(folder / name, rest)]

    def _folders(self, top: Path) -> Iterator[Path]:
        refuse_kernel_files(top)
        for folder, inside, files in os.walk(top):
            self._count.add(len(inside) + len(files) + 1)
            inside[:] = sorted(name for name in inside if not name.startswith((".", "_")) and (folder != "/" or f"/{name}" not in _KERNEL))
            yield Path(folder)

    def _names(self, folder: Path) -> list[str]:
        refuse_kernel_files(folder)
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unavailable(f"{folder} cannot be read: {error.strerror}; check its permissions", path=str(folder)) from error
        self._count.add(len(names) + 1)
        return names


def _named(path: Path) -> list[FoundFile]:
    """The file that is asked for by its own path."""
    about = _stat(path)
    if about is None or stat.S_ISDIR(about.st_mode):
        return []
    refuse_kernel_files(path)
    if not stat.S_ISREG(about.st_mode):
        raise InvalidInput(f"{str(path)!r} is a pipe, a socket or a device, which may never end; give a regular file", path=str(path))
    return [FoundFile(path, about)]


def _among(folder: Path, names: list[str]) -> list[FoundFile]:
    return [file for name in names if (file := regular(folder / name)) is not None]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise Unavailable(f"{path} cannot be looked at: {error.strerror}; check the path and its permissions", path=str(path)) from error
