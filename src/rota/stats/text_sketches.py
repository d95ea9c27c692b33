"""Numbers that stand for a text: how long it is, in which script it is written, and how many of its words were never seen in training.

Words are runs of letters and digits, in lower case. The language is not guessed: what is counted is the script of letters, which is certain,
by the names of Unicode ("LATIN SMALL LETTER A"). A text without letters has no script, one without words no share of unknown ones: both are null.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache

import polars as pl

VOCABULARY = 5_000
"""Words of the training texts that are kept, those of most texts first."""
IN_TEXTS = 5
_MANY = 1_000
WORDS_IN_A_TEXT = 1.5
"""Texts of more words on average, of which many are different, are read; others name things."""
MANY_TEXTS = 100
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The words of a text in their order, in lower case."""
    return _WORD.findall(text.lower())


def is_prose(texts: pl.Series) -> bool:
    """Whether texts are read word by word, rather than names of a few things: many different ones, of more than one word mostly."""
    known = texts.drop_nulls()
    distinct = known.unique()
    if distinct.len() <= MANY_TEXTS:
        return False
    return sum(len(words(text)) for text in distinct.head(1_000)) / min(distinct.len(), 1_000) > WORDS_IN_A_TEXT


def vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """The words that most texts have, at most `VOCABULARY`, by the alphabet; those of fewer than `IN_TEXTS` texts are left out.

    A text's own words count, so words at that bound are less often unknown in the texts that a vocabulary is of than in others; the larger it
    is, the fewer words lie there. Of fewer than a thousand texts it is two, and where no word is in two all are kept.
    """
    counted = Counter(word for text in texts for word in set(words(text)))
    least = IN_TEXTS if len(texts) >= _MANY else 2
    repeated = {word: times for word, times in counted.items() if times >= least} or counted
    return tuple(sorted(sorted(repeated, key=lambda word: (-repeated[word], word))[:VOCABULARY]))


def script(letter: str) -> str:
    """The script of a letter by the first word of its Unicode name, "" for what is no letter: LATIN, CYRILLIC, CJK, ARABIC."""
    return _script(letter) if letter.isalpha() else ""


def script_share(text: str, name: str) -> float | None:
    """The share of a text's letters that are of a script; None of a text without letters."""
    counted = Counter(map(script, text))
    letters = sum(times for each, times in counted.items() if each)
    return counted[name] / letters if letters else None


def main_script(texts: Iterable[str]) -> str:
    """The script that most letters of texts are of; "" where there is no letter."""
    counted = Counter(each for text in texts for each in map(script, text) if each)
    return min(counted, key=lambda name: (-counted[name], name), default="")


def unknown_share(text: str, known: Collection[str]) -> float | None:
    """The share of a text's words that are not among those known; None of a text without words."""
    found = words(text)
    return sum(word not in known for word in found) / len(found) if found else None


def each(texts: pl.Series, number: Callable[[str], float | None]) -> pl.Series:
    """A number of each text, computed once for equal ones; null of a null."""
    distinct = texts.drop_nulls().unique()
    values = pl.DataFrame({"text": distinct, "number": pl.Series([number(text) for text in distinct], dtype=pl.Float64)})
    return texts.alias("text").to_frame().join(values, on="text", how="left", maintain_order="left")["number"]


@lru_cache(maxsize=65_536)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
