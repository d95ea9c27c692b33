"""Great Expectations on pandas: the same expectations as one suite over a data frame. Called by validation.py."""

import json
import logging
import os
import re
import sys
import time
import warnings
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
os.environ["GX_ANALYTICS_ENABLED"] = "false"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

path, told, rows, rounds = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3]), int(sys.argv[4])


def read():
    batches, have = [], 0
    for batch in pq.ParquetFile(path).iter_batches(250_000):
        batches.append(batch.slice(0, rows - have).to_pandas())
        have += len(batches[-1])
        if have >= rows:
            break
    return pd.concat(batches, ignore_index=True)


context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
suite = gx.ExpectationSuite(name="bench")
suite.add_expectation(gxe.ExpectTableColumnsToMatchSet(column_set=[one["name"] for one in told], exact_match=True))
for one in told:
    suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=one["name"], mostly=max(0.0, 1 - one["null"])))
    if one["low"] is not None:
        suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=one["name"], min_value=one["low"], max_value=one["high"]))
    if one["domain"] is not None:
        suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column=one["name"], value_set=one["domain"]))
suite = context.suites.add(suite)
asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame").add_batch_definition_whole_dataframe("all")
check = context.validation_definitions.add(gx.ValidationDefinition(name="check", data=asset, suite=suite))

seconds, found = [], set()
for _ in range(rounds):
    begun = time.perf_counter()
    result = check.run(batch_parameters={"dataframe": read()}, result_format="BASIC")
    seconds.append(time.perf_counter() - begun)
    found = {str(each.expectation_config.kwargs.get("column", "columns")) for each in result.results if not each.success}
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"seconds": min(seconds), "rows": rows, "found": sorted(found), "peak_mib": peak}))
