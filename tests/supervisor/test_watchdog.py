"""A process is hung when its event loop does not answer for as long as it may be silent, and only then."""

import asyncio
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from rota.records.release import Route
from rota.serve.call_marks import CallMarks, Limits
from rota.supervisor.socket_handover import HandoverPoint, ask_listener, ask_ping, refuse_new
from rota.supervisor.watchdog import Pulse, Watchdog


def listens(home):
    """Whether it can be asked: the file of a socket is there a moment before anybody listens on it."""
    try:
        ask_ping(home, "serve-0", os.getpid()).close()
    except OSError:
        return False
    return True


@contextmanager
def process(home, state=lambda: {"ready": True}):
    """A handover point whose event loop can be stopped: gives that loop and the listening socket."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = socket.create_server(("127.0.0.1", 0))
    point = HandoverPoint(home, "serve-0", listener, state)
    point.open(loop)
    while not listens(home):
        time.sleep(0.001)
    try:
        yield loop, listener
    finally:
        point.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        listener.close()


def answered(watchdog, pulse, now):
    while pulse.question is not None:
        watchdog.look(pulse, now)
        time.sleep(0.001)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path


def test_a_loop_that_moves_is_never_hung(home):
    watchdog, pulse = Watchdog(home, silent_s=30), Pulse("serve-0", os.getpid(), ask_at=0.0)
    with process(home):
        for now in (0.0, 100.0, 200.0):
            assert watchdog.look(pulse, now) == "moves"
            answered(watchdog, pulse, now)
        assert pulse.state == {"ready": True}


def test_a_loop_that_stands_still_is_dumped_once_and_then_killed(home):
    watchdog, pulse = Watchdog(home, silent_s=30), Pulse("serve-0", os.getpid(), ask_at=0.0)
    go_on = threading.Event()
    with process(home) as (loop, _):
        loop.call_soon_threadsafe(go_on.wait)
        assert [watchdog.look(pulse, now) for now in (0.0, 29.0, 30.5, 30.6, 31.5)] == ["moves", "moves", "dump", "dumps", "kill"]
        go_on.set()
        pulse.close()


def test_a_question_that_the_loop_never_comes_to_is_closed_with_the_process(home):
    with process(home) as (loop, _):
        loop.call_soon_threadsafe(loop.stop)
        while loop.is_running():
            time.sleep(0.001)
        question = ask_ping(home, "serve-0", os.getpid())
        time.sleep(0.05)
    with question:
        assert question.recv(100) == b""
    for thread in threading.enumerate():
        if thread.name == "socket-handover":
            thread.join(5)
            assert not thread.is_alive()


def test_nobody_is_blamed_for_the_time_in_which_the_supervisor_stood_still(home):
    watchdog, pulse = Watchdog(home, silent_s=30), Pulse("serve-0", os.getpid(), ask_at=0.0)
    go_on = threading.Event()
    with process(home) as (loop, _):
        loop.call_soon_threadsafe(go_on.wait)
        watchdog.look(pulse, 0.0)
        watchdog.forgive(pulse, 500.0)
        assert watchdog.look(pulse, 500.0) == "moves"
        go_on.set()
        answered(watchdog, pulse, 501.0)


def test_of_a_process_that_answers_no_questions_nothing_is_known_and_nothing_judged(home):
    watchdog, pulse = Watchdog(home, silent_s=30), Pulse("serve-0", os.getpid(), ask_at=0.0)
    assert [watchdog.look(pulse, now) for now in (0.0, 50.0, 500.0)] == ["moves"] * 3


def test_what_it_hung_on_is_what_it_left_word_of(home):
    watchdog, pulse = Watchdog(home, silent_s=30), Pulse("serve-0", 7, ask_at=0.0)
    assert watchdog.hung_on(pulse) == {}
    marks = CallMarks(home / "run", "serve-0", lambda: 0)
    (home / "run" / "serve-0.7.stack").write_text("in predict")
    with marks.calling(Route("flights", 3, "bundle3", "stable", 100), "delay"):
        assert watchdog.hung_on(pulse) == {"stack": "in predict"}  # a call that was begun just now is not what it hung on
        watchdog.silent_s = 0.0
        assert watchdog.hung_on(pulse) == {"calling": "version 3 of model flights on endpoint delay", "stack": "in predict"}
    (end,) = CallMarks(home / "run", "serve-1", lambda: 0, Limits(ends=1)).out_of_service().values()
    assert (end.number, end.process, end.cause) == (3, "serve-0", "hung")


def test_the_very_socket_is_handed_over_also_while_the_loop_stands_still(home):
    go_on = threading.Event()
    with process(home) as (loop, listener):
        loop.call_soon_threadsafe(go_on.wait)
        with ask_listener(home, "serve-0", os.getpid()) as given:
            assert given.getsockname() == listener.getsockname()
            with socket.create_connection(listener.getsockname()), given.accept()[0]:
                pass
        go_on.set()


def test_a_closing_door_lets_nobody_in_and_everybody_who_is_in_be_answered():
    listener = socket.create_server(("127.0.0.1", 0))
    with socket.create_connection(listener.getsockname()) as early, socket.socket() as late:
        early.sendall(b"question")
        assert refuse_new(listener)
        late.setblocking(False)
        late.connect_ex(listener.getsockname())
        with listener.accept()[0] as accepted:
            assert accepted.recv(100) == b"question"
            accepted.sendall(b"answer")
        assert early.recv(100) == b"answer"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()
