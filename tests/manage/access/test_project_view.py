"""What a token of one project is shown of a list: full pages of its own, whatever lies between them."""

import pytest

from rota.errors import InvalidInput
from rota.manage.access.project_view import own_page
from rota.records.filters import Page


def asking(items):
    """Pages of numbers whose token is the last number given, and how many were asked for."""
    asked = []

    def ask(after, limit):
        if limit < 1:
            raise InvalidInput("a page of nothing")
        asked.append(limit)
        rest = [item for item in items if not after or item > int(after)]
        return Page(rest[:limit], str(rest[limit - 1]) if len(rest) > limit else "")

    return ask, asked


def walked(ask, is_shown, limit):
    page = own_page(ask, is_shown, "", limit)
    yield page.items
    while page.next:
        page = own_page(ask, is_shown, page.next, limit)
        yield page.items


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("shown", [set(range(1, 41)), {1, 2, 3}, {38, 39, 40}, {1, 20, 40}, {7, 8, 9, 21, 33}, set()], ids=str)
def test_pages_give_each_own_item_once_and_in_order(shown, limit):
    ask, _ = asking(list(range(1, 41)))
    pages = list(walked(ask, lambda item: item in shown, limit))
    assert [item for page in pages for item in page] == sorted(shown)
    assert {len(page) for page in pages[:-1]} <= {limit}


def test_the_newest_own_item_is_found_behind_thousands_in_few_questions():
    ask, asked = asking(list(range(1, 3_001)))
    assert own_page(ask, lambda item: item == 2_999, "", 1).items == [2_999]
    assert len(asked) <= 8


def test_a_page_of_nothing_is_refused():
    with pytest.raises(InvalidInput):
        own_page(asking([1])[0], lambda _: True, "", 0)
