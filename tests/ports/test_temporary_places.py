"""Temporary places: what a killed process left goes, what a living one has stays."""

import signal
import subprocess
import sys
from pathlib import Path

from rota.backends.temporary_places import own_place

HOLD = """
import sys
from pathlib import Path
from rota.backends.temporary_places import own_place
place = own_place(Path(sys.argv[1]))
(place / "matrix").write_bytes(b"x" * 1_000)
print(place, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_goes_with_the_next_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living,
    ):
        assert dying.stdout
        assert living.stdout
        left, kept = Path(dying.stdout.readline().strip()), Path(living.stdout.readline().strip())
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        assert (left / "matrix").exists()
        mine = own_place(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([kept, mine])
        assert (kept / "matrix").exists()
        assert own_place(tmp_path) == mine
        living.kill()


def test_a_process_id_that_came_again_is_another_process(tmp_path: Path) -> None:
    mine = own_place(tmp_path)
    stranger = mine.with_name(f"{mine.name.partition('-')[0]}-1")
    stranger.mkdir()
    own_place(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
