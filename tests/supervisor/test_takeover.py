"""Prediction processes outlive a killed supervisor and are taken over by the next, with their socket: no request fails over it."""

import os
import signal

import psutil
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("keep_alive", [True, False])
def test_no_prediction_fails_over_a_killed_supervisor_and_the_next_one(platform, callers, kill, eventually, keep_alive):
    up = platform(prediction_processes=2).serve_a_model().up()
    before, control_before = up.ports(), up.child("server")
    with callers(before["prediction"], keep_alive=keep_alive) as calling:
        for _ in range(3):
            serving = {up.child("serve-0"), up.child("serve-1")}
            kill(up.process.pid)
            up.process.wait()
            calling.more()
            up.up()
            calling.more()
            assert {up.child("serve-0"), up.child("serve-1")} == serving
    assert (calling.failures, calling.refused) == ([], 0)
    assert up.ports()["prediction"] == before["prediction"]
    assert not psutil.pid_exists(control_before)
    assert [line["child"] for line in up.logged("child_adopted")] == ["serve-0", "serve-1"] * 3


def test_an_adopted_process_that_dies_is_replaced_on_the_same_socket(platform, callers, kill, eventually):
    up = platform().serve_a_model().up()
    kill(up.process.pid)
    up.process.wait()
    up.up()
    adopted = up.child("serve-0")
    kill(adopted)
    eventually(lambda: up.child("serve-0") not in (0, adopted) and up.is_ready(), "there is a new one")
    with callers(up.ports()["prediction"]) as calling:
        calling.more()
    assert calling.failures == []


def test_fixed_ports_are_free_again_at_once(platform, kill, free_ports):
    control, prediction = free_ports(2)
    up = platform(control_port=control, prediction_port=prediction).serve_a_model().up()
    for _ in range(2):
        kill(up.process.pid)
        up.process.wait()
        up.up()
    assert "Address already in use" not in up.log_file.read_text()


def test_other_settings_replace_the_prediction_processes_without_a_failed_request(platform, callers, kill, eventually):
    up = platform(prediction_processes=2).serve_a_model().up()
    old = {up.child("serve-0"), up.child("serve-1")}
    with callers(up.ports()["prediction"]) as calling:
        kill(up.process.pid)
        up.process.wait()
        up.settings["max_request_mb"] = 3
        up.up()
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in old), "the former ones have left")
        calling.more()
    assert (calling.failures, calling.refused) == ([], 0)
    assert not old & {up.child("serve-0"), up.child("serve-1")}
    assert len([process for process in up.processes() if "serve" in process.cmdline()]) == 2


def test_fewer_prediction_processes_than_were_left(platform, callers, kill, eventually):
    up = platform(prediction_processes=2).serve_a_model().up()
    gone = up.child("serve-1")
    with callers(up.ports()["prediction"]) as calling:
        kill(up.process.pid)
        up.process.wait()
        up.settings["prediction_processes"] = 1
        up.up()
        eventually(lambda: not psutil.pid_exists(gone), "the second one has left")
        calling.more()
    assert (calling.failures, calling.refused) == ([], 0)


def test_workers_and_control_plane_end_with_a_killed_supervisor_and_predictions_go_on(platform, callers, kill, eventually):
    up = platform().serve_a_model().up()
    others = [psutil.Process(up.child(name)) for name in ("server", "worker-0")]
    kill(up.process.pid)
    up.process.wait()
    eventually(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in others), "they have ended")
    with callers(up.ports()["prediction"]) as calling:
        calling.more()
    assert calling.failures == []


def test_a_worker_that_hangs_is_ended_by_the_next_supervisor(platform, kill):
    up = platform().serve_a_model().up()
    worker = psutil.Process(up.child("worker-0"))
    os.kill(worker.pid, signal.SIGSTOP)
    kill(up.process.pid)
    up.process.wait()
    up.up()
    assert not worker.is_running()
    assert [(line["child"], line["killed"]) for line in up.logged("leftover_ended") if line["pid"] == worker.pid] == [("worker-0", True)]


def test_two_at_once_and_one_while_the_former_ends(platform, eventually):
    up = platform().serve_a_model()
    first = up.start().process
    second = up.start().process
    eventually(lambda: first.poll() is not None or second.poll() is not None, "one of them gave up")
    refused, up.process = (first, second) if first.poll() is not None else (second, first)
    assert refused.returncode == 1
    eventually(up.is_up, "the other is up")
    former = up.process
    former.send_signal(signal.SIGTERM)
    up.up()
    assert former.wait(60) == 0


def test_a_home_that_lies_deep_is_taken_over_all_the_same(platform, kill, tmp_path):
    up = platform()
    up.home = up.folder / ("deep" * 20) / ("deeper" * 20) / "home"
    up.settings["home"] = up.home
    up.serve_a_model().up()
    serving = up.child("serve-0")
    kill(up.process.pid)
    up.process.wait()
    up.up()
    assert up.child("serve-0") == serving
