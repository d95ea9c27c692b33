"""Filters and orders as people write them, in MLflow's grammar: `metrics.auc > 0.8 and params.model = 'trees'`.

    filter     := condition { "and" condition }
    condition  := field ( "=" | "!=" | ">" | ">=" | "<" | "<=" | "LIKE" | "ILIKE" ) value
                | field [ "NOT" ] "IN" "(" text { "," text } ")"
                | field "IS" [ "NOT" ] "NULL"
    field      := [ entity "." ] key           key in back-ticks or double quotes when it has other characters
    value      := number | 'text' | "text"     a quote inside its own kind of quotes is written twice
    order      := field [ "ASC" | "DESC" ]

Entities: metrics, params, tags, attributes, datasets (each also in the singular; attr and run for attributes, parameters for
params). A name without entity is an attribute; Rota adds: a run's metric, when it is no attribute. So `auc>0.8` works too.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeVar, get_args

from rota.errors import InvalidInput
from rota.manage.experiments.search_vocabulary import (
    DATASET_KEYS,
    ENTITIES,
    KEYED_OPERATORS,
    NUMERIC_OPERATORS,
    TEXT_OPERATORS,
    VOCABULARIES,
    Kind,
    Subject,
)
from rota.records import searching
from rota.records.filters import Comparison, Entity, Operator, Order, Page, Query
from rota.records.searching import Fields, ordered, paged

__all__ = ["Fields", "Subject", "found", "matches", "ordered", "paged", "parse_filter", "parse_order"]

T = TypeVar("T")

MAX_CONDITIONS = 100
MAX_ORDERS = 20
"""Engines nest what they are asked; nobody types so much."""
MAX_TEXT = 1_000_000
"""Characters of a filter: 10,000 ids in a list fit several times."""
MAX_LISTED = 10_000
MAX_TOKENS = 50_000
MAX_DIGITS = 30
_PROMPT_TAG = "mlflow.prompt.is_prompt"

# Every repetition is possessive (`++`): a token that fails is not tried again at each shorter length, so reading is linear.
_TOKEN = re.compile(
    r"""\s*+(?:
      (?P<number>[+-]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+(?![\w.]))
    | (?P<text>'(?:[^']++|'')*+')
    | (?P<name>(?:[^\W\d][\w./:@-]*+|"(?:[^"]++|"")*+"|`[^`]*+`)(?:(?<=\.)(?:"(?:[^"]++|"")*+"|`[^`]*+`))?)
    | (?P<operator><=|>=|!=|=|<|>)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_filter(text: str, subject: Subject) -> tuple[Comparison, ...]:
    """The conditions of a filter, none for a blank one; raises `InvalidInput` that names the place and what may stand there.

    >>> parse_filter("metrics.auc > 0.8 and tags.team = 'ice'", "run")[1]
    Comparison(entity='tag', key='team', operator='=', value='ice')
    """
    if not text or not text.strip():
        return ()
    reader = _Parser("filter", text, subject)
    conditions = [reader.condition()]
    while not reader.ended():
        reader.word("AND", "`and` and another condition, or the end")
        conditions.append(reader.condition())
        if len(conditions) > MAX_CONDITIONS:
            raise InvalidInput(f"the filter has more than {MAX_CONDITIONS} conditions; search in steps", conditions=len(conditions))
    return tuple(conditions)


def parse_order(texts: Iterable[str], subject: Subject) -> tuple[Order, ...]:
    """The fields to sort by, each "FIELD", "FIELD ASC" or "FIELD DESC".

    >>> parse_order(["metrics.auc DESC"], "run")
    (Order(entity='metric', key='auc', descending=True),)
    """
    orders = tuple(_Parser("order", text, subject).order() for text in texts)
    fields = [(order.entity, order.key) for order in orders]
    if len(set(fields)) < len(fields):
        raise InvalidInput(f"order {list(texts)} names a field twice; leave one of them out", order=list(texts))
    if len(orders) > MAX_ORDERS:
        raise InvalidInput(f"an order has at most {MAX_ORDERS} fields, not {len(orders)}")
    return orders


def matches(comparison: Comparison, fields: Fields) -> bool:
    """Whether a condition holds for a model in memory: as `searching.matches`, but what was never called a prompt is none.

    MLflow's clients send tags.`mlflow.prompt.is_prompt` != 'true' with every search of models, few of which have the tag.
    """
    if (comparison.entity, comparison.key) == ("tag", _PROMPT_TAG) and _PROMPT_TAG not in fields.get("tag", {}):
        fields = {**fields, "tag": {_PROMPT_TAG: "false"}}
    return searching.matches(comparison, fields)


def found(items: Iterable[T], query: Query, fields: Callable[[T], Fields], *, scope: str = "") -> Page[T]:
    """The page of a query over models in their natural order; `scope` is what else decides the result."""
    kept = [item for item in items if all(matches(comparison, fields(item)) for comparison in query.where)]
    return paged(ordered(kept, query.order, fields), query, scope=scope)


class _Parser:
    """A text being read from left to right, one token ahead."""

    def __init__(self, what: str, text: str, subject: Subject) -> None:
        if not isinstance(text, str):
            raise InvalidInput(f"{what} {text!r} is no text")
        if len(text) > MAX_TEXT:
            raise InvalidInput(f"the {what} has {len(text)} characters; at most {MAX_TEXT} are read, search in parts")
        self._what, self._text = what, text
        self._subject, self._vocabulary = subject, VOCABULARIES[subject]
        self._tokens = self._split()
        self._next = 0

    def condition(self) -> Comparison:
        entity, key, kind, _ = self._field()
        operator = self._operator(entity, key, kind)
        if operator in ("IS NULL", "IS NOT NULL"):
            return Comparison(entity, key, operator, "")
        if operator in ("IN", "NOT IN"):
            return Comparison(entity, key, operator, tuple(_stored(key, each) for each in self._texts()))
        if kind == "text":
            return Comparison(entity, key, operator, _stored(key, self._quoted(f"{entity} {key!r} is compared with a text in quotes")))
        return Comparison(entity, key, operator, self._number(entity, key, kind))

    def order(self) -> Order:
        entity, key, _, at = self._field()
        if entity == "dataset":
            self._fail(at, "a run may have read many datasets, so runs have no order by one")
        direction = "ASC"
        if not self.ended():
            token = self._take("ASC, DESC or the end")
            direction = token.text.upper()
            if direction not in ("ASC", "DESC"):
                self._fail(token.at, f"{token.text} is no direction; write ASC or DESC")
        if not self.ended():
            self._fail(self._tokens[self._next].at, "nothing may follow the direction")
        return Order(entity, key, direction == "DESC")

    def ended(self) -> bool:
        return self._next == len(self._tokens)

    def word(self, word: str, expected: str) -> None:
        token = self._take(expected)
        if token.kind != "name" or token.text.upper() != word:
            self._fail(token.at, f"{token.text} stands where {expected} is expected")

    def _field(self) -> tuple[Entity, str, Kind, int]:
        token = self._take("a field")
        if token.kind != "name":
            self._fail(token.at, f"{token.text} is no field; write for example metrics.auc or params.`learning rate`")
        prefix, dot, rest = token.text.partition(".")
        quoted = token.text[0] in '"`'
        if quoted or not dot:
            return (*self._bare(_unquoted(token.text), token.at), token.at)
        if prefix not in ENTITIES:
            self._fail(token.at, f"{prefix!r} is no entity; possible are {self._entities()}")
        entity, key = ENTITIES[prefix], _unquoted(rest)
        if entity not in self._vocabulary.entities:
            self._fail(token.at, f"a {self._subject} has no {prefix}; possible are {self._entities()}")
        if entity == "attribute":
            key = self._attribute(key, token.at)
            return entity, key, self._vocabulary.attributes[key], token.at
        if entity == "dataset" and key not in DATASET_KEYS:
            self._fail(token.at, f"a dataset has no {key!r}; possible are {list(DATASET_KEYS)}")
        if not key:
            self._fail(token.at, f"{token.text} has no key behind the dot")
        return entity, key, "number" if entity == "metric" else "text", token.at

    def _bare(self, name: str, at: int) -> tuple[Entity, str, Kind]:
        key = self._vocabulary.spellings.get(name, name)
        if key in self._vocabulary.attributes or self._subject != "run":
            key = self._attribute(name, at)
            return "attribute", key, self._vocabulary.attributes[key]
        return "metric", name, "number"

    def _attribute(self, name: str, at: int) -> str:
        key = self._vocabulary.spellings.get(name, name)
        if key not in self._vocabulary.attributes:
            self._fail(at, f"a {self._subject} has no attribute {name!r}; possible are {list(self._vocabulary.attributes)}")
        return key

    def _operator(self, entity: Entity, key: str, kind: Kind) -> Operator:
        allowed = NUMERIC_OPERATORS if kind != "text" else KEYED_OPERATORS if entity in ("parameter", "tag") else TEXT_OPERATORS
        token = self._take(f"one of {', '.join(allowed)}")
        operator = token.text.upper()
        if operator == "NOT":
            self.word("IN", "IN")
            operator = "NOT IN"
        elif operator == "IS":
            negated = self._next < len(self._tokens) and self._tokens[self._next].text.upper() == "NOT"
            self._next += negated
            self.word("NULL", "NULL")
            operator = "IS NOT NULL" if negated else "IS NULL"
        if operator not in allowed or token.kind not in ("operator", "name"):
            self._fail(token.at, f"{entity} {key!r} cannot be compared by {operator}; possible are {', '.join(allowed)}")
        return next(each for each in get_args(Operator) if each == operator)

    def _texts(self) -> list[str]:
        self._mark("(")
        texts = [self._quoted("a list holds texts in quotes")]
        while self._mark(",", ")") == ",":
            texts.append(self._quoted("a list holds texts in quotes"))
        if len(texts) > MAX_LISTED:
            raise InvalidInput(f"the {self._what} has a list of {len(texts)} texts; at most {MAX_LISTED} are compared with, search in parts")
        return texts

    def _quoted(self, why: str) -> str:
        token = self._take("a text in quotes")
        if token.kind != "text" and not (token.kind == "name" and token.text[0] == '"' == token.text[-1]):
            self._fail(token.at, f"{token.text} stands where a text is expected: {why}, as in 'trees'")
        return _unquoted(token.text)

    def _number(self, entity: Entity, key: str, kind: Kind) -> int | float:
        token = self._take("a number")
        text = _unquoted(token.text) if kind == "number" and entity == "attribute" else token.text
        if token.kind != "number" and not (text != token.text and text.isascii() and text.isdigit()):
            expected = "milliseconds since 1970" if kind == "time" else "a number"
            self._fail(token.at, f"{token.text} stands where {expected} is expected: {entity} {key!r} is compared with it, without quotes")
        if entity == "metric" or not text.lstrip("+-").isdigit() or len(text) > MAX_DIGITS:
            return float(text)
        return int(text)

    def _mark(self, *marks: str) -> str:
        token = self._take(" or ".join(marks))
        if token.text not in marks or token.kind != "mark":
            self._fail(token.at, f"{token.text} stands where {' or '.join(marks)} is expected")
        return token.text

    def _take(self, expected: str) -> _Token:
        if self.ended():
            self._fail(len(self._text), f"{expected} is missing")
        self._next += 1
        return self._tokens[self._next - 1]

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at, end)
            if match is None or match.lastgroup is None:
                start = at + len(self._text[at:]) - len(self._text[at:].lstrip())
                self._fail(start, "nothing can be read from here; is a quote left open, or a key with blanks not in back-ticks?")
            if len(tokens) >= MAX_TOKENS:
                self._fail(at, f"more than {MAX_TOKENS} words and marks are not read; search in parts")
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return tokens

    def _entities(self) -> list[str]:
        return [
            {"metric": "metrics", "parameter": "params", "tag": "tags", "attribute": "attributes", "dataset": "datasets"}[e]
            for e in self._vocabulary.entities
        ]

    def _fail(self, at: int, message: str) -> NoReturn:
        shown = self._text if len(self._text) <= 300 else f"{self._text[:300]}..."
        said = message if len(message) <= 600 else f"{message[:600]}..."
        raise InvalidInput(f"{self._what} {shown!r}, character {at + 1}: {said}", text=shown, at=at + 1)


def _unquoted(text: str) -> str:
    quote = text[:1]
    if len(text) < 2 or quote not in "\"'`" or text[-1] != quote:
        return text
    return text[1:-1] if quote == "`" else text[1:-1].replace(quote * 2, quote)


def _stored(key: str, text: str) -> str:
    """Rota writes states in lower case, MLflow in upper case."""
    return text.lower() if key == "status" else text
