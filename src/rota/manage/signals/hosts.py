"""Hosts: which of several machines on one metadata store a process and a condition belong to, and how both are named then."""

import re
import socket
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from rota.errors import InvalidInput
from rota.records.condition import Condition

OF_ONE_HOST = frozenset(
    {
        "child",
        "conditions",
        "disk",
        "endpoint",
        "host name",
        "journal",
        "journal damage",
        "prediction log",
        "releases",
        "spool",
        "supervisor",
        "thread",
    }
)
"""The parts that every host has for itself: what one host finds of its own says nothing of another's."""
SEPARATOR = "@"
_UNUSABLE = re.compile(r"[\s@:]")


def part_of(name: str) -> str:
    """The part of a condition's name, for example "disk" of "disk@web-1" and "journal" of "journal:push/orders"."""
    return name.partition(":")[0].partition(SEPARATOR)[0]


@dataclass(frozen=True, slots=True)
class Host:
    """The machine and the home of a process. Where `has_others`, on a store that hosts share, `name` is part of what it tells."""

    name: str
    home: str
    has_others: bool = False

    @classmethod
    def of(cls, host_name: str, home: Path, *, has_others: bool) -> Self:
        """The host of this process: by the name that the settings give it, else by the machine's own."""
        if _UNUSABLE.search(host_name):
            raise InvalidInput(f"host_name {host_name!r} cannot name a host: give a name without spaces, '@' and ':'", setting="host_name")
        return cls(host_name or _UNUSABLE.sub("-", socket.gethostname()) or "localhost", str(home), has_others=has_others)

    def process(self, name: str) -> str:
        """The name of one of its processes: "worker-0", or "worker-0@web-1" where other hosts have one too."""
        return f"{name}{SEPARATOR}{self.name}" if self.has_others else name

    def told(self, conditions: Iterable[Condition]) -> list[Condition]:
        """The conditions with its name in those that every host has for itself."""
        return [msgspec.structs.replace(each, name=self._named(each.name)) for each in conditions]

    def owns(self, name: str) -> bool:
        """Whether a condition of this name is one that this host can look at; one without a host is of before the store was shared."""
        return not self.has_others or part_of(name) not in OF_ONE_HOST or self.host_of(name) in ("", self.name)

    def covers(self, parts: Collection[str], kept: Collection[str] = ()) -> Callable[[str], bool]:
        """Whether everything of a condition's part was looked at here, so that one that is not named is over; `kept` are told of elsewhere."""
        return lambda name: part_of(name) in parts and name not in kept and self.owns(name)

    def host_of(self, name: str) -> str:
        """Which host the condition of a part that every host has for itself is of; "" for none."""
        return name.rpartition(SEPARATOR)[2] if self.has_others and SEPARATOR in name and part_of(name) in OF_ONE_HOST else ""

    def _named(self, name: str) -> str:
        ending = f"{SEPARATOR}{self.name}"
        return f"{name}{ending}" if self.has_others and part_of(name) in OF_ONE_HOST and not name.endswith(ending) else name
