"""Edits of a schema as text, one expectation at a time, and the difference of two schemas in the same syntax.

    temp.maximum=130   carrier.domain+=XX   carrier.domain-=YY   temp.drift.jensen_shannon_divergence=0.1   min_examples=1000

A path is a column and one of its fields; without a column it is a field of the schema or of its constraints. "none" takes an
expectation away.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgspec

from rota.errors import InvalidInput
from rota.records.record import plain
from rota.records.schema import ColumnSchema, Comparator, DatasetConstraints, Schema
from rota.stats.schema_validation import EVERY_KIND, POLICY

TEXT_LISTS = ("domain", "in_environment", "not_in_environment", "environments")
COMPARATORS = ("skew", "drift")
_FIXED = ("name", "policy", "definition")
_CONSTRAINTS = DatasetConstraints.__struct_fields__
# TFDV states the complement: what must be there, where Rota states what may be missing.
_COMPLEMENTS = {"min_fraction": "max_null_share", "min_domain_mass": "max_unknown_share"}


@dataclass(frozen=True, slots=True)
class Edits:
    """What to change: assignments, columns to remove, and policies ("COLUMN.KIND=fail|warn|ignore|default")."""

    settings: Sequence[str] = ()
    removed: Sequence[str] = ()
    policies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """One expectation that two schemas state differently; `column` is "" for the schema itself."""

    column: str
    field: str
    before: str
    after: str


def apply(schema: Schema, edits: Edits) -> Schema:
    """The schema with all edits made; raises `InvalidInput` on the first that does not fit."""
    for name in edits.removed:
        _column(schema, name)
        schema = msgspec.structs.replace(
            schema, columns=tuple(c for c in schema.columns if c.name != name), bins=tuple(b for b in schema.bins if b.name != name)
        )
    for text in edits.settings:
        schema = _set(schema, text)
    for text in edits.policies:
        schema = _set_policy(schema, text)
    return schema


def differences(before: Schema, after: Schema) -> Iterator[SchemaDifference]:
    """What changed from one schema to the other, column by column."""
    old, new = ({column.name: plain(column) for column in schema.columns} for schema in (before, after))
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield SchemaDifference(name, "column", str(old[name]["type"]), "removed")
        elif name not in old:
            yield SchemaDifference(name, "column", "", f"added, {new[name]['type']}")
        else:
            yield from _fields(name, old[name], new[name], skip=("name",))
    yield from _fields("", plain(before), plain(after), skip=("name", "version", "columns", "bins", "frozen_us", "author", "created_us", "digest"))


def _fields(column: str, old: Mapping[str, Any], new: Mapping[str, Any], *, skip: Sequence[str]) -> Iterator[SchemaDifference]:
    for field in old:
        if field in skip or old[field] == new[field]:
            continue
        if field in TEXT_LISTS and old[field] is not None and new[field] is not None:
            gone, come = set(old[field]) - set(new[field]), set(new[field]) - set(old[field])
            yield SchemaDifference(column, field, " ".join(f"-{v}" for v in sorted(gone)), " ".join(f"+{v}" for v in sorted(come)))
        else:
            yield SchemaDifference(column, field, _said(old[field]), _said(new[field]))


def _set(schema: Schema, text: str) -> Schema:
    path, operator, value = _parted(text)
    column = _owner(schema, path)
    if column is None:
        return _set_schema(schema, path, operator, value)
    field = path[len(column.name) + 1 :]
    before = plain(column)
    if field.partition(".")[0] in COMPARATORS:
        comparator, _, limit = field.partition(".")
        if limit not in Comparator.__struct_fields__:
            raise _unknown(f"{column.name}.{comparator}", limit, Comparator.__struct_fields__)
        changed: dict[str, Any] = {comparator: {**(before[comparator] or {}), limit: _value(limit, value)}}
    elif field in _COMPLEMENTS:
        changed = {_COMPLEMENTS[field]: round(1 - _number(text, value), 12)}
    elif field in ColumnSchema.__struct_fields__ and field not in _FIXED:
        changed = {field: _changed(before[field], field, operator, value)}
    else:
        raise _unknown(column.name, field, [f for f in (*ColumnSchema.__struct_fields__, *_COMPLEMENTS) if f not in _FIXED])
    edited = _converted(before | changed, ColumnSchema, text)
    columns = tuple(edited if each.name == column.name else each for each in schema.columns)
    return msgspec.structs.replace(schema, columns=columns, bins=_bins(schema, column, edited))


def _bins(schema: Schema, before: ColumnSchema, after: ColumnSchema) -> tuple[Any, ...]:
    """A value that joins the domain is no longer unseen, wherever it is counted; bins of another type count nothing."""
    if before.type != after.type:
        return tuple(b for b in schema.bins if b.name != before.name)
    joined = set(after.domain or ()) - set(before.domain or ()) if before.domain is not None else set()
    return tuple(
        msgspec.structs.replace(b, rare=tuple(sorted({*b.rare, *(joined - set(b.values))}))) if b.name == before.name and joined else b
        for b in schema.bins
    )


def _set_schema(schema: Schema, path: str, operator: str, value: str) -> Schema:
    if path in _CONSTRAINTS:
        changed = _converted(plain(schema.constraints) | {path: _value(path, value)}, DatasetConstraints, path)
        return msgspec.structs.replace(schema, constraints=changed)
    if path == "environments":
        return msgspec.structs.replace(schema, environments=tuple(_changed(schema.environments, path, operator, value)))
    near = get_close_matches(path.partition(".")[0], [c.name for c in schema.columns], n=3)
    hint = f"did you mean {near}?" if near else "`rota data schema show` lists its columns"
    raise InvalidInput(
        f"schema {schema.name!r} has no column for {path!r}; {hint} Fields of the schema itself are {['environments', *_CONSTRAINTS]}", path=path
    )


def _set_policy(schema: Schema, text: str) -> Schema:
    path, _, severity = text.partition("=")
    column = _owner(schema, path)
    kind = path if column is None else path[len(column.name) + 1 :]
    if kind not in POLICY and kind != EVERY_KIND:
        raise _unknown(schema.name if column is None else column.name, kind, [*POLICY, EVERY_KIND])
    if severity not in ("fail", "warn", "ignore", "default"):
        raise InvalidInput(f"policy {text!r}: {severity!r} is none of fail, warn, ignore, default", policy=text)
    rules = {k: v for k, v in (schema if column is None else column).policy.items() if k != kind}
    rules |= {} if severity == "default" else {kind: severity}  # type: ignore[dict-item]
    if column is None:
        return msgspec.structs.replace(schema, policy=rules)
    edited = msgspec.structs.replace(column, policy=rules)
    return msgspec.structs.replace(schema, columns=tuple(edited if each.name == column.name else each for each in schema.columns))


def _parted(text: str) -> tuple[str, str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise InvalidInput(f"{text!r} is no edit; write for example temp.maximum=130, carrier.domain+=XX or min_examples=1000", edit=text)
    operator = path[-1] if path[-1] in "+-" else ""
    return path.removesuffix(operator) if operator else path, operator, value


def _owner(schema: Schema, path: str) -> ColumnSchema | None:
    """The column that a path begins with; of columns with dots in their names the longest that fits."""
    fitting = [column for column in schema.columns if path.startswith(f"{column.name}.")]
    return max(fitting, key=lambda column: len(column.name), default=None)


def _column(schema: Schema, name: str) -> ColumnSchema:
    found = next((column for column in schema.columns if column.name == name), None)
    if found is None:
        raise _unknown(schema.name, name, [column.name for column in schema.columns])
    return found


def _changed(before: Sequence[str] | None, field: str, operator: str, value: str) -> Any:
    if not operator:
        return _value(field, value)
    if field not in TEXT_LISTS:
        raise InvalidInput(f"{field} is no list of texts, so nothing can be added or taken; write {field}=VALUE", field=field)
    kept = list(before or ())
    if operator == "+":
        return sorted({*kept, value})
    if value not in kept:
        raise InvalidInput(f"{field} does not hold {value!r}; it holds {kept[:20]}", field=field)
    return [each for each in kept if each != value]


def _value(field: str, text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    if field in TEXT_LISTS and not text.startswith("["):
        return [part for part in text.split(",") if part]
    try:
        return msgspec.json.decode(text.lower() if text.lower() in ("true", "false") else text)
    except msgspec.DecodeError:
        return text


def _number(edit: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{edit!r}: {text!r} is no number", edit=edit) from None


def _converted(values: Mapping[str, Any], kind: Any, edit: str) -> Any:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{edit!r} does not fit: {error}", edit=edit) from error


def _unknown(owner: str, word: str, known: Sequence[str]) -> InvalidInput:
    near = get_close_matches(word, known, n=3) or list(known)[:30]
    return InvalidInput(f"{owner!r} has no {word!r}; there are {near}", word=word)


def _said(value: object) -> str:
    return "none" if value is None else ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
