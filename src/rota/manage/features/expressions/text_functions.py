"""Feature SQL over texts, each function in both forms; positions count characters from 1."""

import re
from collections.abc import Callable

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions.operators import Kind, Term, Writer, as_text


def text(write: Writer, name: str, a: Term) -> Term:
    """LOWER, UPPER, TRIM and LENGTH."""
    a = as_text(a, name)
    kind, code, column = _TEXTS[name]
    return write.strict(kind, code.format(a.code), column(a.column), (a,))


def concat(write: Writer, values: list[Term], *, strict: bool) -> Term:
    """`||` (strict) and CONCAT, which takes a null for an empty text."""
    values = [as_text(value, "concat") for value in values]
    columns = [value.column for value in values]
    if strict:
        return write.strict("string", " + ".join(value.code for value in values), pl.concat_str(columns), values)
    parts = [f"({value.code} or '')" if value.nullable else value.code for value in values]
    return write.term("string", " + ".join(parts), pl.concat_str(columns, ignore_nulls=True), values).never_null()


def cut(write: Writer, name: str, a: Term, *places: Term) -> Term:
    """LEFT(text, n), RIGHT(text, n), SUBSTRING(text, start, length) with literal places."""
    a = as_text(a, name)
    numbers = [place.literal for place in places]
    least = 1 if name == "substring" else 0
    if not all(type(number) is int and 0 <= number <= 1_000_000 for number in numbers) or numbers[0] < least:
        raise InvalidInput(f"{name} takes literal whole numbers: left(text, n), right(text, n), substring(text, start >= 1, length)")
    first, length = (numbers[0], numbers[1] if len(numbers) > 1 else 10_000_000)
    if name == "left":
        return write.strict("string", f"{a.code}[:{first}]", a.column.str.head(first), (a,))
    if name == "right":
        return write.strict("string", f"{a.code}[len({a.code}) - {first} if len({a.code}) > {first} else 0:]", a.column.str.tail(first), (a,))
    return write.strict("string", f"{a.code}[{first - 1}:{first - 1 + length}]", a.column.str.slice(first - 1, length), (a,))


def replaced(write: Writer, a: Term, old: Term, new: Term) -> Term:
    """REPLACE(text, 'old', 'new'), both literal."""
    a = as_text(a, "replace")
    if not isinstance(old.literal, str) or not isinstance(new.literal, str) or not old.literal:
        raise InvalidInput("replace takes literal texts, of which the first is not empty: replace(text, 'old', 'new')")
    column = a.column.str.replace_all(old.literal, new.literal, literal=True)
    return write.strict("string", f"{a.code}.replace({old.literal!r}, {new.literal!r})", column, (a,))


def begins(write: Writer, a: Term, start: Term) -> Term:
    """STARTS_WITH(text, 'start')."""
    a = as_text(a, "starts_with")
    if not isinstance(start.literal, str):
        raise InvalidInput("starts_with takes a literal text: starts_with(text, 'start')")
    return write.strict("bool", f"{a.code}.startswith({start.literal!r})", a.column.str.starts_with(start.literal), (a,))


def like(write: Writer, a: Term, pattern: Term) -> Term:
    """text LIKE 'pattern': % stands for any characters, _ for one, backslash takes the next character as it is."""
    a = as_text(a, "like")
    if not isinstance(pattern.literal, str):
        raise InvalidInput("like takes a literal pattern: text like 'a%'")
    parts = _parts(pattern.literal)
    fits = re.compile(_without_second_look(parts), re.DOTALL).fullmatch
    name = write.function(f"like {pattern.literal}", lambda value: fits(value) is not None)
    return write.strict("bool", f"{name}({a.code})", a.column.str.contains(f"(?s)^(?:{'.*'.join(parts)})$"), (a,))


def _parts(pattern: str) -> list[str]:
    """What stands between the % of a pattern, each as a regular expression."""
    parts, characters = [""], iter(pattern)
    for character in characters:
        if character == "%":
            parts.append("")
        elif character == "\\":
            parts[-1] += re.escape(next(characters, "\\"))
        else:
            parts[-1] += "." if character == "_" else re.escape(character)
    return parts


def _without_second_look(parts: list[str]) -> str:
    """The pattern for Python, which would try every way to share a text among several `.*`: each part takes the leftmost place it fits."""
    first, *rest = parts
    if not rest:
        return first
    *middle, last = rest
    return "".join([first, *(f"(?>.*?{part})" for part in middle if part), ".*", last])


def _recased(a: pl.Expr, change: Callable[[str], str]) -> pl.Expr:
    """Python's own change of case, value by value where a text is not ASCII: Polars follows another version of Unicode."""

    def over(texts: pl.Series) -> pl.Series:
        made = texts.str.to_lowercase() if change is str.lower else texts.str.to_uppercase()
        others = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(value=False)
        if not others.any():
            return made
        changed = pl.Series([change(text) for text in texts.filter(others)], dtype=pl.String)
        return made.scatter(others.arg_true(), changed)

    return a.map_batches(over, return_dtype=pl.String, is_elementwise=True)


_TEXTS: dict[str, tuple[Kind, str, Callable[[pl.Expr], pl.Expr]]] = {
    "lower": ("string", "{}.lower()", lambda a: _recased(a, str.lower)),
    "upper": ("string", "{}.upper()", lambda a: _recased(a, str.upper)),
    "trim": ("string", "{}.strip(' ')", lambda a: a.str.strip_chars(" ")),
    "length": ("int", "len({})", lambda a: a.str.len_chars().cast(pl.Int64)),
}
