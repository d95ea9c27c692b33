"""Business outcomes: late, repeated and unknown ones, summed for each version; acknowledged means kept."""

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from rota import wiring
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import InvalidInput, NotFound
from rota.manage.signals import business_outcomes, prediction_log
from rota.manage.signals.business_outcomes import Kpi
from rota.ports.metadata import Batch
from rota.records.release import Endpoint
from rota.records.signal import Outcome, Prediction
from rota.records.time import DAY_US, LAST_US
from rota.settings import Settings
from rota.testing.story import NOON_US


@pytest.fixture(params=["memory", "files"])
def stores(repositories, request, tmp_path):
    if request.param == "memory":
        yield repositories
        return
    made = {"journal": SegmentJournal(tmp_path / "log"), "tables": DeltaTables(tmp_path / "tables")}
    yield type(repositories)(**{field: getattr(repositories, field) for field in repositories.__dataclass_fields__} | made)
    made["journal"].close()


def log(stores, *ids, number=1, role="stable", error="", at_us=NOON_US - 60, endpoint="delay"):
    rows = [Prediction(each, endpoint, at_us, "m", number, role, 1, "", {}, {"v__x": 1.0}, 0.5, 9, error) for each in ids]
    prediction_log.append(stores.journal, endpoint, rows)


def tell(stores, id, name, value, *, at_us=NOON_US, endpoint="delay", received_us=NOON_US):
    business_outcomes.append(stores.journal, endpoint, [Outcome(id, name, value, at_us)], received_us)


def kpis(stores, number=1, **asked):
    found = business_outcomes.report(stores, "delay", **asked).of(number)
    return [] if found is None else list(found.kpis)


def test_outcomes_are_summed_for_the_version_that_made_the_prediction(stores):
    log(stores, "p1", "p2", "p3", "p4")
    log(stores, "q1", number=2)
    for prediction, name, value in [("p1", "sale", 10.0), ("p2", "sale", 20.0), ("p2", "cost", -3.0), ("q1", "sale", 7.0)]:
        tell(stores, prediction, name, value)
    found = business_outcomes.report(stores, "delay")
    assert [(each.number, each.predictions) for each in found.versions] == [(2, 1), (1, 4)]
    assert found.of(1).kpis == (Kpi("cost", 1, -3.0, -3.0, -0.75), Kpi("sale", 2, 30.0, 15.0, 7.5))
    assert found.of(2).kpis == (Kpi("sale", 1, 7.0, 7.0, 7.0),)
    assert (found.unmatched, found.of(3)) == (0, None)


def test_without_any_outcome_there_is_nothing_to_sum(stores):
    assert business_outcomes.report(stores, "delay").versions == ()
    log(stores, "p1")
    assert kpis(stores) == []
    assert business_outcomes.of_version(stores, "delay", 1) is None
    assert business_outcomes.read(stores.tables, "nowhere").is_empty()


def test_a_later_outcome_of_the_same_name_replaces_the_earlier_whatever_came_first(stores):
    log(stores, "p1")
    tell(stores, "p1", "sale", 10.0, at_us=50, received_us=NOON_US + 1)
    tell(stores, "p1", "sale", 1.0, at_us=40, received_us=NOON_US + 9)
    assert kpis(stores) == [Kpi("sale", 1, 10.0, 10.0, 10.0)]
    tell(stores, "p1", "sale", 12.0, at_us=50, received_us=NOON_US + 10)
    assert kpis(stores) == [Kpi("sale", 1, 12.0, 12.0, 12.0)]
    assert kpis(stores, known_until_us=NOON_US + 9) == [Kpi("sale", 1, 10.0, 10.0, 10.0)]
    assert kpis(stores, known_until_us=NOON_US) == []  # dated long before, received later


def test_an_unknown_prediction_is_kept_counted_and_matched_once_it_is_there(stores):
    log(stores, "p1")
    tell(stores, "not-yet", "sale", 4.0)
    tell(stores, "p1", "sale", 1.0)
    assert business_outcomes.report(stores, "delay").unmatched == 1
    log(stores, "not-yet")
    found = business_outcomes.report(stores, "delay")
    assert (found.unmatched, found.of(1).kpis[0].total) == (0, 5.0)


def test_an_outcome_without_an_endpoint_counts_where_its_prediction_was_made(stores):
    log(stores, "p1")
    log(stores, "x1", endpoint="other")
    tell(stores, "p1", "sale", 4.0, endpoint="")
    tell(stores, "x1", "sale", 9.0, endpoint="")
    tell(stores, "nobody", "sale", 9.0, endpoint="")
    assert kpis(stores) == [Kpi("sale", 1, 4.0, 4.0, 4.0)]
    assert business_outcomes.report(stores, "other").of(1).kpis == (Kpi("sale", 1, 9.0, 9.0, 9.0),)
    assert business_outcomes.report(stores, "delay").unmatched == 0, "nobody said that it was this endpoint's"
    tell(stores, "p1", "sale", 5.0, at_us=NOON_US + 1)
    assert kpis(stores) == [Kpi("sale", 1, 5.0, 5.0, 5.0)]


def test_the_window_is_over_the_predictions(stores):
    log(stores, "old", at_us=NOON_US - 100 * DAY_US)
    log(stores, "new", at_us=NOON_US - DAY_US)
    tell(stores, "old", "sale", 1.0)
    tell(stores, "new", "sale", 2.0)
    assert kpis(stores) == [Kpi("sale", 1, 2.0, 2.0, 2.0)]
    assert kpis(stores, days=365)[0].total == 3.0
    assert kpis(stores, days=50, end_us=NOON_US - 90 * DAY_US)[0].total == 1.0
    assert business_outcomes.report(stores, "delay").unmatched == 0


def test_a_shadow_earns_nothing_and_the_version_that_answered_earns_it(stores):
    log(stores, "p1", number=2, role="canary", error="it fell over", at_us=NOON_US - 70)
    log(stores, "p1", number=1)
    log(stores, "p1", number=3, role="shadow")
    tell(stores, "p1", "sale", 1.0)
    found = business_outcomes.report(stores, "delay")
    assert [(each.number, each.predictions) for each in found.versions] == [(1, 1)]


def test_many_outcomes_are_stored_once_in_one_go(stores):
    business_outcomes.append(stores.journal, "delay", [Outcome(f"p{n}", "sale", float(n), n) for n in range(10_000)], 1)
    assert business_outcomes.flush(stores.journal, stores.tables, "delay") == 10_000
    assert business_outcomes.flush(stores.journal, stores.tables, "delay") == 0
    assert business_outcomes.report(stores, "delay").unmatched == 10_000


def test_an_entry_that_cannot_be_read_is_set_apart_and_holds_back_no_other(stores):
    stores.journal.append("outcomes/delay", [b"\x01"])
    business_outcomes.append(stores.journal, "delay", [Outcome("p1", "sale", 1.0, 5)], 7)
    assert business_outcomes.flush(stores.journal, stores.tables, "delay") == 1
    assert [payload for chunk in stores.journal.read("unread/outcomes/delay") for payload in chunk.payloads] == [b"\x01"]


GOOD = {"prediction_id": "p1", "name": "sale", "value": 1.5, "at_us": 7}


def test_a_row_is_taken_with_its_moment_or_with_now():
    assert business_outcomes.from_rows([GOOD], 9) == [Outcome("p1", "sale", 1.5, 7)]
    (now,) = business_outcomes.from_rows([{name: value for name, value in GOOD.items() if name != "at_us"}], 9)
    assert now.at_us == 9
    (told,) = business_outcomes.from_rows([{**GOOD, "at_us": None, "at": "1970-01-01T00:00:01Z"}], 9)
    assert told.at_us == 1_000_000
    assert business_outcomes.from_rows([{**GOOD, "value": True}], 9)[0].value == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": None},
        {"value": "dear"},
        {"value": float("nan")},
        {"value": float("inf")},
        {"value": 1e300},
        {"value": 10**400},
        {"value": [1]},
        {"prediction_id": ""},
        {"prediction_id": 7},
        {"prediction_id": "p" * 201},
        {"prediction_id": "p\x00"},
        {"prediction_id": "\ud800"},
        {"name": ""},
        {"name": None},
        {"name": "<script>"},
        {"name": "../sale"},
        {"at_us": -1},
        {"at_us": LAST_US + 1},
        {"at_us": 2**70},
        {"at_us": "soon"},
        {"at_us": float("inf")},
        {"at_us": None, "at": "tomorrow"},
        {"valeu": 1.0},
    ],
)
def test_what_is_no_outcome_is_refused_with_its_place(wrong):
    with pytest.raises(InvalidInput):
        business_outcomes.from_rows([{**GOOD, **wrong}], 9)


@pytest.mark.parametrize("field", ["prediction_id", "name", "value"])
def test_a_missing_field_is_named(field):
    with pytest.raises(InvalidInput, match=f"outcome 1 .*{field}"):
        business_outcomes.from_rows([GOOD, {name: value for name, value in GOOD.items() if name != field}], 9)


@pytest.fixture
def home(tmp_path):
    with wiring.opened(Settings(home=tmp_path / "home")) as platform:
        batch = Batch()
        batch.put(Endpoint("delay", "delay"))
        platform.repositories.metadata.commit(batch)
    return tmp_path / "home"


def test_all_of_a_request_is_taken_or_nothing_and_only_for_an_endpoint_that_there_is(home):
    with wiring.opened(Settings(home=home)) as platform:
        with pytest.raises(InvalidInput):
            platform.signals.outcome("delay", [GOOD, {**GOOD, "value": None}])
        with pytest.raises(NotFound, match="no endpoint 'nix'"):
            platform.signals.outcome("nix", [GOOD])
        assert platform.signals.outcome("delay", []) == 0
        assert business_outcomes.report(platform.repositories, "delay").unmatched == 0
        assert platform.signals.outcome("delay", [GOOD, GOOD, msgspec.to_builtins(GOOD) | {"name": "cost"}]) == 3
        assert business_outcomes.report(platform.repositories, "delay").unmatched == 2


CHILD = """
import sys, time
from pathlib import Path
from rota import wiring
from rota.settings import Settings
with wiring.opened(Settings(home=Path(sys.argv[1]))) as platform:
    for number in range(100_000):
        platform.signals.outcome("delay" if number % 2 else "", [{"prediction_id": f"p{number}", "name": "sale", "value": 1.0}])
        print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(home):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(home)], stdout=subprocess.PIPE, text=True)
    acknowledged = [child.stdout.readline() for _ in range(50)]
    os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read().splitlines(keepends=True)
    child.wait()
    child.stdout.close()
    told = [f"p{int(line)}" for line in acknowledged + rest if line.endswith("\n")]
    with wiring.opened(Settings(home=home)) as platform:
        r = platform.repositories
        business_outcomes.report(r, "delay")
        kept = set(business_outcomes.read(r.tables, "delay")["prediction_id"])
    assert len(told) >= 50
    assert set(told) <= kept
