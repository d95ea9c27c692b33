"""Routing: sticky, proportional, and growing a canary keeps its units."""

from itertools import pairwise

import msgspec
import pytest

from rota.errors import InvalidInput
from rota.records.release import HeaderMatch, HeaderRoute, Release, Route
from rota.serve import routing

UNITS = [f"unit-{n}" for n in range(20_000)]


def release(canary=0, *, salt="a", shadow=False):
    routes = [Route("m", 1, "b1", "stable", 100 - canary), Route("m", 2, "b2", "canary", canary)]
    return Release("e", 1, tuple(routes + [Route("m", 3, "b3", "shadow", 0)] * shadow), "", 0, salt=salt)


def chosen(release):
    return {unit for unit in UNITS if routing.choose(release, unit).role == "canary"}


def test_a_unit_always_gets_the_same_version():
    assert chosen(release(30)) == chosen(release(30))


@pytest.mark.parametrize("weight", [1, 5, 50, 99])
def test_the_share_of_units_is_the_weight(weight):
    share = len(chosen(release(weight))) / len(UNITS)
    assert share == pytest.approx(weight / 100, abs=4 * (weight / 100 * (1 - weight / 100) / len(UNITS)) ** 0.5)


def test_a_growing_canary_keeps_every_unit_it_had():
    shares = [chosen(release(weight)) for weight in (0, 5, 25, 50, 100)]
    assert all(small <= large for small, large in pairwise(shares))
    assert len(shares[0]) == 0
    assert len(shares[-1]) == len(UNITS)


def three(first, second, *, order=("stable", "first", "second")):
    """A release of a stable route and two canaries, its routes listed in any order."""
    arms = {
        "stable": Route("m", 1, "b1", "stable", 100 - first - second),
        "first": Route("m", 2, "b2", "canary", first),
        "second": Route("m", 3, "b3", "canary", second),
    }
    return Release("e", 1, tuple(arms[name] for name in order), "", 0, salt="a")


def units_of(release, number):
    return {unit for unit in UNITS if routing.choose(release, unit).number == number}


@pytest.mark.parametrize("order", [("stable", "first", "second"), ("first", "stable", "second"), ("first", "second", "stable")])
def test_of_three_arms_the_canaries_take_the_lowest_points_in_their_order_and_stable_the_rest(order):
    before, after = three(10, 10, order=order), three(10, 40, order=order)
    assert [route.number for route in routing.answering_routes(before)] == [2, 3, 1]
    for number, weight in ((1, 80), (2, 10), (3, 10)):
        assert len(units_of(before, number)) / len(UNITS) == pytest.approx(weight / 100, abs=0.012)
    assert units_of(after, 2) == units_of(before, 2) == chosen(release(10))
    assert units_of(after, 3) > units_of(before, 3)
    assert units_of(after, 1) < units_of(before, 1)


def test_another_salt_draws_independent_units():
    first, second = chosen(release(10, salt="a")), chosen(release(10, salt="b"))
    assert len(first & second) / len(UNITS) == pytest.approx(0.01, abs=0.004)


def test_sequential_and_odd_units_are_all_routed():
    for unit in ("", "ü" * 1_000, "\x00", "1"):
        assert routing.choose(release(50), unit).role in {"stable", "canary"}


def test_a_point_that_rounding_lifts_to_the_sum_of_weights_goes_to_the_stable_route(monkeypatch):
    monkeypatch.setattr(routing, "_point", lambda _salt, _unit: 100.0)
    assert routing.choose(release(50), "unit").role == "stable"


def test_shadows_are_listed_apart_and_never_chosen():
    mirrored = release(50, shadow=True)
    assert [route.number for route in routing.shadows(mirrored)] == [3]
    assert {routing.choose(mirrored, unit).number for unit in UNITS[:500]} == {1, 2}
    assert routing.stable(mirrored).number == 1


@pytest.mark.parametrize("weights", [(90, 5), (100, 5), (110, -10)])
def test_weights_that_are_no_shares_are_refused(weights):
    with pytest.raises(InvalidInput, match="sum"):
        routing.check(Release("e", 1, (Route("m", 1, "b1", "stable", weights[0]), Route("m", 2, "b2", "canary", weights[1])), "", 0))


def test_weights_that_sum_to_a_hundred_are_served_beside_a_shadow():
    routing.check(release(5, shadow=True))


def test_a_release_without_a_stable_route_is_refused():
    with pytest.raises(InvalidInput, match="stable"):
        routing.check(Release("e", 1, (Route("m", 2, "b2", "canary", 100),), "", 0))


def with_header(*values, number=2):
    rules = tuple(HeaderRoute(HeaderMatch("x-beta", value), number) for value in values)
    return msgspec.structs.replace(release(0), headers=rules)


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        ([(b"x-beta", b"yes")], 2),
        ([(b"x-beta", b" yes ")], 2),
        ([(b"x-beta", b"no"), (b"x-beta", b"yes")], 2),
        ([(b"x-beta", b"Yes")], None),
        ([(b"x-beta", b"yes please")], None),
        ([(b"x-other", b"yes")], None),
        ([], None),
    ],
)
def test_a_header_routes_by_its_exact_value(sent, number):
    found = routing.by_header(with_header("yes"), sent)
    assert (found and found[0].number) == number


def test_a_release_that_routes_a_header_to_a_version_it_does_not_have_is_refused():
    with pytest.raises(InvalidInput, match="x-beta: yes to version 3, which it does not have"):
        routing.check(with_header("yes", number=3))
