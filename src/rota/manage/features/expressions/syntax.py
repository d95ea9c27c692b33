"""Arguments of parsed SQL nodes, accounted for: an argument that a rule does not read is refused by name.

sqlglot parses more than feature SQL means: it sets flags on a node (`NOT LIKE` is a `Like` with `negate`), keeps optional arguments
(`floor(x, 1)`) and puts surplus ones where it finds room. A rule that reads the arguments it knows would silently ignore the others;
`Arguments.check_all_read` refuses every argument that is neither empty nor read, so that a text never means something else than it says.
"""

from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from rota.errors import InvalidInput

_DIALECT_MARKS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Div: frozenset({"typed", "safe"}),
    exp.Concat: frozenset({"safe", "coalesce"}),
    exp.DPipe: frozenset({"safe"}),
    exp.Least: frozenset({"ignore_nulls"}),
    exp.Greatest: frozenset({"ignore_nulls"}),
    exp.TryCast: frozenset({"safe"}),
    exp.Literal: frozenset({"is_string"}),
    exp.Identifier: frozenset({"quoted"}),
}
"""Arguments that sqlglot's PostgreSQL parser sets by itself, to say how that dialect behaves; what Rota does is in `operators`."""


class Arguments:
    """The arguments of one node; each may be taken, and what is left in the end is refused."""

    def __init__(self, node: exp.Expr) -> None:
        self._node = node
        marks = _DIALECT_MARKS.get(type(node), frozenset())
        self._unread = {name: value for name, value in node.args.items() if name not in marks and not _is_empty(value)}

    def take(self, name: str) -> Any:
        """An argument that may be absent (None): an expression, a list of them, or a flag."""
        self._unread.pop(name, None)
        return self._node.args.get(name)

    def need(self, name: str) -> exp.Expr:
        """An argument without which the text means nothing; raises `InvalidInput` when it is absent."""
        found = self.take(name)
        if not isinstance(found, exp.Expr):
            raise InvalidInput(f"{written(self._node)} lacks an argument", expression=written(self._node))
        return found

    def many(self, name: str = "expressions") -> Sequence[exp.Expr]:
        """A list of arguments, perhaps empty."""
        found = self.take(name) or []
        if not isinstance(found, list):
            raise InvalidInput(f"{written(self._node)}: {written(found)} is no list of arguments", expression=written(self._node))
        return tuple(found)

    def word(self, name: str) -> str:
        """A bare word or literal as text, such as the unit of EXTRACT; raises `InvalidInput` for anything that is computed."""
        found = self.need(name)
        if not isinstance(found, exp.Literal | exp.Var | exp.Identifier):
            raise InvalidInput(f"{written(self._node)}: {written(found)} must be a word or a literal", expression=written(self._node))
        return str(found.name)

    def check_all_read(self) -> None:
        """Raise `InvalidInput` for an argument that nothing has read."""
        for name, value in self._unread.items():
            shown = ", ".join(written(each) for each in value) if isinstance(value, list) else written(value) if isinstance(value, exp.Expr) else ""
            what = f"{shown} ({name.replace('_', ' ')})" if shown else name.replace("_", " ").upper()
            raise InvalidInput(
                f"{written(self._node)}: {what} has no meaning in a feature expression; leave it out, or write it another way",
                expression=written(self._node),
                argument=name,
            )


def written(node: exp.Expr) -> str:
    """A node as SQL, cut to what fits into a message."""
    text = node.sql(dialect="postgres")
    return text if len(text) <= 100 else f"{text[:100]}..."


def _is_empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list | str) and not value)
