"""Feast's SQLite SDK answering the question of `online.py`; prints [p50_us, p99_us] in its last line. Runs in Feast's environment."""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from feast_repository import REFERENCES, VIEWS, repository


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    options = parser.parse_args()
    draw = random.Random(11)
    with tempfile.TemporaryDirectory() as home:
        store = repository(Path(home), options.entities)
        asked = [[{"driver": draw.randrange(options.entities)} for _ in range(options.rows)] for _ in range(options.calls)]
        took = []
        for rows in [*asked[:20], *asked]:
            began = time.perf_counter_ns()
            answer = store.get_online_features(REFERENCES, rows, full_feature_names=True).to_dict()
            took.append(time.perf_counter_ns() - began)
        assert len(answer) == 1 + len(REFERENCES)
        assert None not in answer[f"view{VIEWS - 1}__f0"]
    took = sorted(took[20:])
    print(json.dumps([took[len(took) // 2] / 1_000, took[len(took) * 99 // 100] / 1_000]))


if __name__ == "__main__":
    main()
