"""Functions written for one service and compiled: a loop over views and names costs more than the store's answer.

Only names and numbers made here and texts through `repr` get into the source; everything else is passed in as an argument.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

from rota.manage.features.expressions.scalar_functions import INT_MAX, INT_MIN
from rota.manage.features.online.row_codec import RowView, entity_name
from rota.manage.features.online.window_view import WindowView
from rota.records.schema import Type
from rota.records.time import Micros

StoredView = RowView | WindowView
Compute = Callable[[Mapping[str, Any]], tuple[Any, ...]]
Answer = Callable[[Sequence[bytes | None], Mapping[str, Any], Micros], dict[str, Any]]
Read = Callable[[Sequence[bytes]], list[bytes | None]]
_PLAIN: Mapping[Type, str] = {
    "int": f"type({{0}}) is int and {INT_MIN} <= {{0}} <= {INT_MAX}",
    "string": "type({0}) is str and {0}.isascii()",
    "bool": "type({0}) is bool",
    "float": "type({0}) is float and {0} == {0}",
}


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    """The names of an answer, and which value each of them has: values are counted through all views, of the given widths."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    widths: tuple[int, ...]

    def parts(self) -> list[str]:
        """For each view the variables that its values are taken apart into."""
        starts = accumulate(self.widths, initial=0)
        return [f"[{', '.join(f'v{start + i}' for i in range(width))}]" for start, width in zip(starts, self.widths, strict=False)]

    def result(self, own: Sequence[str], form: str) -> str:
        made = [*own, *(f"{name!r}: {form.format(place)}" for name, place in zip(self.names, self.places, strict=True))]
        return f"return {{{', '.join(made)}}}"


def one_request(fields: Mapping[str, Type]) -> Callable[[Mapping[str, Any]], dict[str, Any] | None]:
    """The fields of a row alone, when all of them are plain values of their types; else None: look closer."""
    body = ["get = row.get"]
    for index, (name, kind) in enumerate(fields.items()):
        body += [f"v{index} = get({name!r})", f"if not ({_PLAIN.get(kind, 'False').format(f'v{index}')}): return None"]
    made = ", ".join(f"{name!r}: v{index}" for index, name in enumerate(fields))
    return _function("row", [*body, f"return {{{made}}}"], {})


def one_fetch(lookups: Sequence[tuple[Sequence[str], Sequence[bytes]]], read: Read) -> Callable[[Mapping[str, Any]], list[bytes | None] | None]:
    """What the store holds of one row's entities, for each prefix; None when a join key is null."""
    body: list[str] = []
    keys: list[str] = []
    for index, (join_keys, prefixes) in enumerate(lookups):
        values = "".join(f"get({name!r}), " for name in join_keys)
        body += [f"v = ({values})", f"n{index} = b'i%d;' % v if type(v[0]) is int and {len(join_keys) == 1} else named(v)"]
        body += [f"if n{index} is None: return None"]
        keys += [f"{prefix!r} + n{index}" for prefix in prefixes]
    return _function("row", ["get = row.get", *body, f"return read([{', '.join(keys)}])"], {"read": read, "named": entity_name})


def one_answer(layout: AnswerLayout, views: Sequence[StoredView], computes: Sequence[Compute], fields: Sequence[str], *, listed: bool) -> Answer:
    """One dict out of what the store has of one row, at a moment; `listed`: each value in a list, the row's own fields first."""
    body = ["".join(f"d{index}, " for index in range(len(views))) + "= datas"] if views else []
    given: dict[str, Any] = {}
    values = iter(layout.parts())
    for index, view in enumerate(views):
        given[f"decode{index}"] = view.decode
        made, slow = next(values), f"decode{index}(d{index}, now_us)"
        if isinstance(view, RowView) and view.plain:
            given |= {f"unpack{index}": view.unpack, f"nulls{index}": view.no_nulls, f"ttl{index}": view.ttl_us}
            body += [f"x = unpack{index}(d{index}) if d{index} else None"]
            body += [f"if x and now_us - x[1] <= ttl{index} and x[3] == nulls{index}: _, _, _, _, {made[1:-1]} = x", f"else: {made} = {slow}"]
        else:
            body += [f"{made} = {slow}"]
    for index, compute in enumerate(computes):
        given[f"compute{index}"] = compute
        body += [f"{next(values)} = compute{index}(row)"]
    own = [f"{name!r}: [row[{name!r}]]" for name in fields]
    return _function("datas, row, now_us", [*body, layout.result(own, "[v{}]") if listed else layout.result((), "v{}")], given)


def vector(layout: AnswerLayout) -> Callable[..., dict[str, Any]]:
    """One dict out of a tuple of values from each view."""
    parts = [f"p{index}" for index in range(len(layout.widths))]
    body = [f"{made} = {part}" for made, part in zip(layout.parts(), parts, strict=True)]
    return _function(", ".join(parts), [*body, layout.result((), "v{}")], {})


def _function(arguments: str, body: Sequence[str], given: Mapping[str, Any]) -> Callable[..., Any]:
    namespace: dict[str, Any] = {"__builtins__": {"type": type, "int": int, "str": str, "bool": bool, "float": float}, **given}
    source = f"def made({arguments}):\n    " + "\n    ".join(body)
    exec(compile(source, "<feature service>", "exec"), namespace)  # noqa: S102 - written here, see the module's first lines
    return cast("Callable[..., Any]", namespace["made"])
