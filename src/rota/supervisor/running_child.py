"""One process that the supervisor watches: started by itself, or by a supervisor before it."""

import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rota.supervisor.process_table import HomeProcess

logger = logging.getLogger("rota.supervisor")


@dataclass(slots=True)
class RunningChild:
    """A child of this supervisor (`popen`), or one that it took over (`adopted`); both are signalled and waited for alike."""

    pid: int
    started: float
    popen: subprocess.Popen[bytes] | None = None
    adopted: HomeProcess | None = None
    pidfd: int = -1
    leave_by: float = float("inf")
    """When it is killed, once it was asked to leave."""

    @classmethod
    def start(cls, command: Sequence[str], fds: Sequence[int], environment: Mapping[str, str]) -> "RunningChild":
        """Start one; raises OSError when the machine has no process, file or memory left for it."""
        popen = subprocess.Popen(command, pass_fds=fds, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        return cls(popen.pid, time.monotonic(), popen=popen, pidfd=_tried(lambda: os.pidfd_open(popen.pid)))

    @classmethod
    def adopt(cls, process: HomeProcess) -> "RunningChild":
        """Take over one that runs."""
        return cls(process.pid, time.monotonic(), adopted=process, pidfd=process.pidfd)

    def exit_code(self) -> int | None:
        """How it ended: the negative signal or the exit code, -256 when nobody can know (it was somebody else's child); None while it lives."""
        if self.popen is not None:
            return self.popen.poll()
        assert self.adopted is not None
        return UNKNOWN if self.adopted.ended() else None

    def send(self, what: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        if self.popen is not None:
            self.popen.send_signal(what)
        elif self.adopted is not None:
            self.adopted.send(what)

    def leave(self, now: float, within_s: float) -> None:
        """Ask it to stop, and kill it when it is asked again and that was so long ago."""
        if now >= self.leave_by:
            self.send(signal.SIGKILL)
        elif self.leave_by == float("inf"):
            logger.info("former prediction process leaves", extra={"action": "child_replaced", "pid": self.pid})
            self.leave_by = now + within_s
            self.send(signal.SIGTERM)

    def wait(self, within_s: float) -> bool:
        """Whether it has ended, waited for so long."""
        if self.popen is None:
            assert self.adopted is not None
            return self.adopted.ended(within_s)
        try:
            self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def forget(self) -> None:
        """It has ended: give its descriptor free."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd = -1


UNKNOWN = -256


def how(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code == UNKNOWN:
        return "ended, nobody knows how"
    if exit_code < 0:
        try:
            return f"was killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"was killed by signal {-exit_code}"
    return f"ended with exit code {exit_code}"


def wait_for_any(fds: Sequence[int], within_s: float) -> None:
    """Sleep until one of these has news, at most so long."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    poll.poll(max(0.0, within_s) * 1_000)


def _tried(act: Callable[[], int]) -> int:
    try:
        return act()
    except OSError:  # no descriptor left, or an old kernel: the child is looked at every now and then instead
        return -1
