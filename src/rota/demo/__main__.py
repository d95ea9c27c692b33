"""`python -m rota.demo`: the whole loop on a year of real flights, with a live view or a JSON report."""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rota
from rota.demo import data, view
from rota.demo.replay import DAY, END, FAST_END, PROJECT, START, Replay, report


def main(*, fast: bool = False, as_json: bool = False, keep: bool = False, home: Path | None = None) -> dict[str, Any]:
    """Run the demo and return its report; `fast` takes every eighth flight or so, from March to July."""
    started = time.monotonic()
    year = data.load(share=0.12, tick_minutes=180) if fast else data.load()
    end = FAST_END if fast else END
    place = home or Path(tempfile.mkdtemp(prefix="rota-demo-"))
    with view.opened(as_json=as_json, first_day=data.date_of(START), days=(end - START) // DAY) as screen:
        with rota.up(place, keep=keep, clock="replay", control_port=0, prediction_port=0, poll_s=0.01) as client:
            client.advance(START)
            rota.apply(PROJECT, home=place, clock="replay")
            replay = Replay(client, year, lambda what, facts: screen.tell(client, what, facts), end)
            replay.prepare()
            replay.run()
            found = report(replay, started)
        screen.close()
    view.show(found, as_json=as_json, kept=place if keep else None)
    if not keep and home is None:
        shutil.rmtree(place)
    return found


if __name__ == "__main__":
    main(fast="--fast" in sys.argv, as_json="--json" in sys.argv, keep="--keep" in sys.argv)
