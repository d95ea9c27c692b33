"""Counting: exact under threads, and Prometheus text that a parser takes."""

from concurrent.futures import ThreadPoolExecutor

from rota.rendering import exposition
from rota.rendering.exposition import MetricFamily
from rota.serve.counters import PUBLIC, Counters


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
    text = exposition.text(counters.metrics())
    for bound, count in (("0.0005", 2), ("0.001", 2), ("0.005", 3), ("2.5", 3), ("+Inf", 4)):
        assert f'rota_prediction_seconds_bucket{{endpoint="e",le="{bound}"}} {count}\n' in text
    assert 'rota_prediction_seconds_sum{endpoint="e"} 60.0036\n' in text


def test_a_parser_reads_back_what_was_counted_even_for_hostile_names(parsed_metrics):
    counters = Counters()
    hostile = 'a"b\\c\nd'
    counters.add("rota_requests_total", endpoint=hostile, status=200)
    for seconds in (0.0001, 60.0):
        counters.observe(hostile, seconds)
    found = parsed_metrics(exposition.text(counters.metrics()))
    assert found["rota_requests_total"].samples == {("rota_requests_total", (("endpoint", hostile), ("status", "200"))): 1}
    assert found["rota_prediction_seconds"].samples["rota_prediction_seconds_count", (("endpoint", hostile),)] == 2
    assert parsed_metrics(exposition.text(exposition.nameless(counters.metrics(), public=PUBLIC))).keys() == found.keys()


def test_without_names_counts_are_summed_and_ages_are_those_of_the_oldest(parsed_metrics):
    by_name = {(("name", "a"), ("status", "x")): 1.5, (("name", "b"), ("status", "x")): 4.0, (("name", "b"), ("status", "y")): 2.0}
    found = [MetricFamily.of("total", "counter", "Sum.", by_name), MetricFamily.of("age", "gauge", "Of a \\ and\nb.", by_name, total="max")]
    parsed = parsed_metrics(exposition.text(exposition.nameless(found, public={"status"})))
    assert parsed["total"].samples == {("total", (("status", "x"),)): 5.5, ("total", (("status", "y"),)): 2.0}
    assert parsed["age"].samples == {("age", (("status", "x"),)): 4.0, ("age", (("status", "y"),)): 2.0}
    assert (parsed["age"].kind, parsed["age"].meaning) == ("gauge", "Of a \\ and\nb.")
