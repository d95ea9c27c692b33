"""Replacing attributes of a library's classes and modules, and putting back exactly what was there."""

from typing import Any


class Patches:
    """What was replaced, undone in reverse order; an attribute that somebody else has replaced since is left to them."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Set an attribute that `owner` itself has."""
        self._replaced.append((owner, name, vars(owner)[name], new))
        setattr(owner, name, new)

    def undo(self) -> None:
        """Put everything back."""
        while self._replaced:
            owner, name, old, new = self._replaced.pop()
            if vars(owner).get(name) is new:
                setattr(owner, name, old)
