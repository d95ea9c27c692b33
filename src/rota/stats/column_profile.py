"""The profile of one column of a dataset: its statistics, and a histogram for each group of rows.

One pass a column: numbers are sorted once, which gives distinct values and quantiles exactly, and every histogram is one
count over (group, bar). 1,000,000 rows x 50 columns take a few seconds and little more memory than one column.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.records.profile import ColumnProfile, Histogram, Role
from rota.records.schema import Type
from rota.stats.bins import as_numbers, as_texts
from rota.stats.slice_statistics import QUANTILES

BARS = 20
TOP = 10
LONGEST_TEXT = 80
"""Characters of a text that a profile keeps: enough to recognise it, and no cell can make the profile large."""
CLASSES = 5
REST = "(other)"
IDENTITY_SHARE, IDENTITY_LEAST = 0.5, 100
"""A text with more distinct values than both, this share of the rows and this many, names things: it has no distribution to show."""
SIDES = ("train", "test")

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each row: side (0 train, 1 test) and class of the label, whose names are `classes`."""

    test: Codes
    label: Codes
    classes: tuple[str, ...]

    def split(self, bars: Codes, size: int) -> dict[str, tuple[int, ...]]:
        """Counts of the rows in each bar, by side and by class; a bar of -1 is left out."""
        classes = len(self.classes)
        cells = (self.test * classes + self.label) * (size + 1) + bars + 1
        counts = np.bincount(cells, minlength=2 * classes * (size + 1)).reshape(2, classes, size + 1)[:, :, 1:]
        sides = dict(zip(SIDES, counts.sum(axis=1).tolist(), strict=True))
        labels = dict(zip(self.classes, counts.sum(axis=0).tolist(), strict=True))
        return {name: tuple(found) for name, found in (sides | labels).items()}


def groups(test: pl.Series, label: pl.Series) -> Groups:
    """The groups of a dataset's rows: each value of a label with at most 5 distinct ones, else its lower, middle and upper third.

    Of a text with more values the most frequent ones are groups, and all others are one.
    """
    if label.dtype == pl.String:
        return _groups_of_texts(test, label)
    values = label.to_numpy()
    distinct = np.unique(values)
    if len(distinct) <= CLASSES:
        names = tuple(f"label {value:.6g}" for value in distinct)
        return Groups(test.to_numpy().astype(np.int64), np.searchsorted(distinct, values).astype(np.int64), names)
    low, high = np.quantile(values, (1 / 3, 2 / 3), method="inverted_cdf")
    names = (f"label to {low:.4g}", f"to {high:.4g}", "above")
    return Groups(test.to_numpy().astype(np.int64), np.searchsorted(np.array([low, high]), values, side="left").astype(np.int64), names)


def _groups_of_texts(test: pl.Series, label: pl.Series) -> Groups:
    ranked = label.value_counts(name="count").sort(["count", label.name], descending=[True, False])[label.name].to_list()
    shown = sorted(ranked if len(ranked) <= CLASSES else ranked[: CLASSES - 1])
    names = tuple(f"label {shortened(text)}" for text in shown) + (("other labels",) if len(ranked) > len(shown) else ())
    places = {text: place for place, text in enumerate(shown)}
    codes = np.array([places.get(text, len(shown)) for text in label.to_list()], dtype=np.int64)
    return Groups(test.to_numpy().astype(np.int64), codes, names)


def column_profile(name: str, role: Role, type: Type, values: pl.Series, by: Groups) -> ColumnProfile:
    """The profile of a column; completeness is counted here, validity needs the expectations of a schema (`profiles`)."""
    return _PROFILES.get(type, _of_numbers)(name, role, type, values, by)


def _of_texts(name: str, role: Role, type: Type, values: pl.Series, by: Groups) -> ColumnProfile:
    texts = as_texts(name, values).alias("text")
    ranked = texts.drop_nulls().value_counts(name="count").sort(["count", "text"], descending=[True, False])
    top = ranked.head(TOP).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("bar"))
    bars = texts.to_frame().join(top.select("text", "bar"), on="text", how="left", maintain_order="left")["bar"].fill_null(TOP)
    codes = bars.to_numpy().copy()
    codes[texts.is_null().to_numpy()] = -1
    labels = [shortened(text) for text in top["text"]]
    if ranked.height > TOP:
        labels.append(REST)
    else:
        codes[codes == TOP] = -1
    commonest = tuple(zip((shortened(text) for text in top["text"]), top["count"].to_list(), strict=True))
    names_things = ranked.height > max(IDENTITY_SHARE * len(texts), IDENTITY_LEAST)
    histogram = Histogram(by.split(codes, len(labels)), labels=tuple(labels)) if labels and not names_things else None
    return _counted(name, role, type, values, texts.null_count(), ranked.height, top=commonest, histogram=histogram)


def _of_truths(name: str, role: Role, type: Type, values: pl.Series, by: Groups) -> ColumnProfile:
    numbers = as_numbers(name, values)
    known = ~np.isnan(numbers)
    histogram = Histogram(by.split(np.where(known, numbers, -1).astype(np.int64), 2), labels=("false", "true"))
    mean = float(numbers[known].mean()) if known.any() else None
    return _counted(name, role, type, values, int((~known).sum()), len(np.unique(numbers[known])), mean=mean, histogram=histogram)


def _of_numbers(name: str, role: Role, type: Type, values: pl.Series, by: Groups) -> ColumnProfile:
    numbers = as_numbers(name, values)
    nulls = int(np.isnan(numbers).sum())
    finite = np.isfinite(numbers)
    ordered = np.sort(numbers[finite])
    infinite = len(numbers) - nulls - len(ordered)
    if not len(ordered):
        return _counted(name, role, type, values, nulls, min(infinite, 1), infinite=infinite)
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    distinct = int(starts.sum())
    if distinct <= BARS:
        found = ordered[starts]
        bars, labels, edges = np.searchsorted(found, np.where(finite, numbers, found[0])), tuple(f"{value:.12g}" for value in found), np.empty(0)
    else:
        edges, labels = _edges(ordered), ()
        bars = np.searchsorted(edges[1:-1], np.where(finite, numbers, edges[0]), side="right")
    codes = np.where(finite, bars, -1).astype(np.int64)
    mean, std = _moments(ordered)
    return _counted(
        name,
        role,
        type,
        values,
        nulls,
        values.drop_nulls().n_unique() if values.dtype.is_integer() else distinct + min(infinite, 1),
        mean=mean,
        std=std,
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        quantiles=tuple(_quantile(ordered, share) for share in QUANTILES),
        zeros=int(np.searchsorted(ordered, 0.0, side="right") - np.searchsorted(ordered, 0.0, side="left")),
        infinite=infinite,
        histogram=Histogram(by.split(codes, len(labels) or BARS), labels=labels, edges=tuple(edges.tolist())),
    )


def _edges(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bars of equal width: over the whole range, or over its middle 98 % when a few far values would squeeze the rest into one bar."""
    low, high = float(ordered[0]), float(ordered[-1])
    inner_low, inner_high = _quantile(ordered, 0.01), _quantile(ordered, 0.99)
    if inner_high > inner_low and high / 6 - low / 6 > inner_high / 2 - inner_low / 2:
        low, high = inner_low, inner_high
    return 2 * np.linspace(low / 2, high / 2, BARS + 1)  # the halves of any two doubles lie within a double of each other


def _moments(ordered: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation, of the scaled values where their squares would overflow."""
    scale = max(abs(float(ordered[0])), abs(float(ordered[-1])))
    if scale < 1e150:
        return float(ordered.mean()), float(ordered.std())
    return float((ordered / scale).mean()) * scale, float((ordered / scale).std()) * scale


def _quantile(ordered: NDArray[np.float64], share: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan, 1996, definition 7), as numpy's default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    share = place - below
    return float(ordered[below] if ordered[below] == ordered[above] else (1 - share) * ordered[below] + share * ordered[above])


def _counted(name: str, role: Role, type: Type, values: pl.Series, nulls: int, distinct: int, **statistics: object) -> ColumnProfile:
    completeness = 1 - nulls / len(values) if len(values) else 1.0
    return ColumnProfile(name, role, type, len(values), nulls, distinct, completeness=completeness, **statistics)  # type: ignore[arg-type]


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}"


_PROFILES: dict[Type, Callable[..., ColumnProfile]] = {"string": _of_texts, "bool": _of_truths}
