"""Scoring: what is told of engines that are away."""

from rota.errors import Unavailable
from rota.serve import scoring


def test_an_outage_is_one_line_a_minute_with_what_it_cost(caplog):
    now_s = [100.0]
    away = scoring.AwayEngines(timer=lambda: now_s[0])
    for second in range(61):
        now_s[0] = 100.0 + second
        away.tell(Unavailable("Redis is away"), {"endpoint": "delay"})
    assert [(record.getMessage(), record.failures) for record in caplog.records] == [
        ("an engine did not answer: Redis is away", 1),
        ("an engine did not answer: Redis is away", 60),
    ]
