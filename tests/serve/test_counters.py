"""Counting: exact under threads, and Prometheus text that a parser takes."""

import re
from concurrent.futures import ThreadPoolExecutor

from rota.serve.counters import Counters


def test_no_count_is_lost_between_threads():
    counters = Counters()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: [counters.add("rota_requests_total", endpoint="e", status=200) for _ in range(1_000)], range(8)))
    assert counters.value("rota_requests_total", endpoint="e") == 8_000
    assert counters.value("rota_requests_total", endpoint="other") == 0


def test_every_latency_falls_into_its_bucket_and_all_larger_ones():
    counters = Counters()
    for seconds in (0.0001, 0.0005, 0.003, 60.0):
        counters.observe("e", seconds)
    text = counters.text({})
    for bound, count in (("0.0005", 2), ("0.001", 2), ("0.005", 3), ("2.5", 3), ("+Inf", 4)):
        assert f'rota_prediction_seconds_bucket{{endpoint="e",le="{bound}"}} {count}\n' in text
    assert 'rota_prediction_seconds_sum{endpoint="e"} 60.0036\n' in text


def test_every_line_is_prometheus_text_even_for_hostile_names():
    counters = Counters()
    counters.add("rota_requests_total", endpoint='a"b\\c\nd', status=200)
    sample = re.compile(r'[a-z_]+(\{[a-z_]+="([^"\\\n]|\\["\\n])*"(,[a-z_]+="([^"\\\n]|\\["\\n])*")*\})? [0-9.e+-]+')
    for line in counters.text({("rota_ready", ()): 1.0}).splitlines():
        assert line.startswith("# ") or sample.fullmatch(line), line
