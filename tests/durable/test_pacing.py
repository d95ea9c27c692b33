"""A loop looks often while things happen, seldom when nothing does, and never too seldom."""

from rota.durable.pacing import Pacing


def looks(pacing, seconds, clock):
    """How many looks an idle loop takes in a time."""
    until, count = clock[0] + seconds, 0
    while clock[0] < until:
        clock[0] += pacing.after(False)
        count += 1
    return count


def test_an_idle_loop_becomes_slow_and_never_slower_than_asked():
    clock = [0.0]
    pacing = Pacing(0.1, slow_s=1.0, timer=lambda: clock[0])
    looks(pacing, 30, clock)
    assert pacing.after(False) == 1.0
    assert 99 <= looks(pacing, 100, clock) <= 101


def test_work_makes_it_quick_at_once_and_for_a_while():
    clock = [0.0]
    pacing = Pacing(0.1, slow_s=1.0, timer=lambda: clock[0])
    looks(pacing, 30, clock)
    assert pacing.after(True) == 0.1
    clock[0] += 1.9
    assert pacing.after(False) == 0.1
    clock[0] += 0.2
    assert 0.1 < pacing.after(False) < 0.2


def test_a_loop_that_was_asked_to_be_slow_stays_so():
    assert Pacing(5.0, slow_s=1.0).after(True) == 5.0
