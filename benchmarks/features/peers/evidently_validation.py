"""Evidently's data summary with its own tests on pandas; it takes no ranges and domains. Called by validation.py."""

import json
import re
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import pyarrow.parquet as pq  # noqa: E402
from evidently import Dataset, Report  # noqa: E402
from evidently.presets import DataSummaryPreset  # noqa: E402

path, rows, rounds = sys.argv[1], int(sys.argv[3]), int(sys.argv[4])
seconds = []
for _ in range(rounds):
    begun = time.perf_counter()
    frame = next(pq.ParquetFile(path).iter_batches(rows)).to_pandas()
    Report([DataSummaryPreset()], include_tests=True).run(Dataset.from_pandas(frame), None)
    seconds.append(time.perf_counter() - begun)
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"seconds": min(seconds), "rows": len(frame), "found": [], "peak_mib": peak}))
