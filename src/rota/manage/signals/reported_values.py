"""What a report about a prediction holds (a label, an outcome), coerced as every value that comes in: whose it is, how much, and when."""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from rota.errors import InvalidInput
from rota.records.time import LAST_US, Micros
from rota.records.values import coerce, measured, plain, shown

LONGEST_ID = 200


class ReportedRow:
    """One row of a report, for example label 3; every error names it."""

    def __init__(self, row: Mapping[str, Any], noun: str, position: int, needs: str) -> None:
        self._row = row
        self.name = f"{noun} {position}"
        self._position = position
        self._needs = needs

    def value(self, *, largest: float = math.inf) -> float:
        """The value as a number: a bool is 0 or 1. Raises `InvalidInput` for null, and for what is infinite or larger than `largest`."""
        given = self.given("value")
        try:
            number = measured(given)
        except InvalidInput as error:
            self._unfit(f"value {error}", error)
        if number is None:
            self._unfit("value is null; leave out what is not known")
        if not math.isfinite(number) or abs(number) > largest:
            within = "finite number" if largest == math.inf else f"number within ±{largest:g}"
            raise InvalidInput(f"{self.name}: value {number} is not a {within}; leave out what is not known", position=self._position)
        return number

    def any_value(self) -> Any:
        """The value as it was given: a number (a bool is 0 or 1), a text, a list or a mapping. Raises `InvalidInput` for null and infinite."""
        given = plain(self.given("value"))
        return given if isinstance(given, str | Mapping | list | tuple) else self.value()

    def weight(self) -> float:
        """How much the row counts: a finite number above 0."""
        given = self.given("weight")
        try:
            number = measured(given)
        except InvalidInput as error:
            self._unfit(f"weight {error}", error)
        if number is None or not 0 < number < math.inf:
            self._unfit(f"weight {given!r} is no number above 0")
        return number

    def prediction_id(self) -> str:
        """The id of the prediction that the report is about."""
        given = self.given("prediction_id")
        try:
            identity = coerce("string", given)
        except InvalidInput:
            identity = None
        if identity is None or not 1 <= len(identity) <= LONGEST_ID or not identity.isprintable():
            raise InvalidInput(
                f"{self.name}: prediction_id {shown(given)} is not a text of 1 to {LONGEST_ID} printable characters",
                position=self._position,
            )
        return str(identity)

    def at_us(self, now_us: Micros) -> Micros:
        """When it became known: `at_us` or `at`, either in any form that a time has; now where neither is given."""
        for name in ("at_us", "at"):
            try:
                found = coerce("timestamp", self._row.get(name))
            except InvalidInput as error:
                self._unfit(f"{name} {error}", error)
            if found is not None and not 0 <= found <= LAST_US:
                raise InvalidInput(f"{self.name}: {name} {found} is no moment between 1970 and 9999 in microseconds", position=self._position)
            if found is not None:
                return int(found)
        return now_us

    def given(self, name: str) -> Any:
        """A field that every row of the report has."""
        if name not in self._row:
            self._unfit(f"it has no {name}")
        return self._row[name]

    def _unfit(self, why: str, cause: Exception | None = None) -> NoReturn:
        raise InvalidInput(f"{self.name} does not fit ({why}); it needs {self._needs}", position=self._position) from cause
