"""Scripts, words and unknown words of texts."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.stats import text_sketches as texts


@pytest.mark.parametrize(
    ("letter", "name"),
    [("a", "LATIN"), ("é", "LATIN"), ("Ж", "CYRILLIC"), ("ß", "LATIN"), ("日", "CJK"), ("\u0627", "ARABIC"), ("1", ""), (" ", ""), ("😀", "")],
)
def test_the_script_of_a_letter_is_that_of_its_unicode_name(letter: str, name: str) -> None:
    assert texts.script(letter) == name


def test_shares_of_scripts_and_of_unknown_words() -> None:
    assert texts.script_share("abc где", "LATIN") == 0.5
    assert texts.script_share("12 !", "LATIN") is None
    assert texts.main_script(["abc", "где", "де", ""]) == "CYRILLIC"
    assert texts.main_script(["", "12"]) == ""
    assert texts.unknown_share("The invoice, the INVOICE is wrong", {"the", "invoice"}) == pytest.approx(2 / 6)
    assert texts.unknown_share(" ... ", {"the"}) is None
    assert texts.words("it's 2 Straße_x") == ["it", "s", "2", "straße", "x"]


@given(st.lists(st.text(max_size=20), max_size=10))
def test_texts_that_a_vocabulary_is_of_have_no_unknown_words_where_each_word_is_in_two_of_them(found: list[str]) -> None:
    known = texts.vocabulary([*found, *found])
    assert list(known) == sorted(set(known))
    assert all(texts.unknown_share(text, set(known)) in (None, 0.0) for text in found)


def test_a_vocabulary_leaves_out_what_only_one_text_has_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts.vocabulary(["the cat", "the dog", "a dog"]) == ("dog", "the")
    assert texts.vocabulary(["cat", "dog"]) == ("cat", "dog")
    monkeypatch.setattr(texts, "VOCABULARY", 1)
    assert texts.vocabulary(["the cat", "the dog", "the dog"]) == ("the",)


def test_prose_is_many_texts_of_several_words() -> None:
    lines = pl.Series([f"order {n} came late" for n in range(200)])
    assert texts.is_prose(lines)
    assert not texts.is_prose(lines.head(50))
    assert not texts.is_prose(pl.Series([f"id{n}" for n in range(200)]))


def test_a_number_of_each_text_in_its_place() -> None:
    assert texts.each(pl.Series(["ab", None, "", "ab"]), lambda text: float(len(text))).to_list() == [2.0, None, 0.0, 2.0]
