"""What a prediction process knows of its own state: endpoints that it does not serve, releases it cannot read, predictions it could not log."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rota.manage.signals.process_reports import Lasting
from rota.records.condition import Condition
from rota.serve.predicting import PredictionCore
from rota.serve.release_poller import ReleasePoller

UNLOGGED = "rota_predictions_unlogged_total"
_LOGGED_LOOKS = 2


@dataclass(slots=True)
class ServingHealth:
    """Asked on a thread beside the event loop, now and then; reads what is in memory and no store."""

    core: PredictionCore
    poller: ReleasePoller
    _lasting: Lasting = field(default_factory=Lasting)
    _unlogged: int = 0
    _predicted: int = 0
    _missed: int = 0
    _good_looks: int = 0

    def conditions(self) -> list[Condition]:
        """Of each endpoint and of the releases, when it lasts from one look to the next; and of the prediction log since the last look."""
        served = self.core.served
        found = [*(self._of_endpoint(name, name in served) for name in sorted(self.poller.known)), self._of_releases()]
        return [*self._lasting.of(found), self._of_log()]

    def figures(self) -> Mapping[str, float]:
        """What it serves, and what it did since it started."""
        counters, served = self.core.counters, self.core.served
        newest_us = max((each.release.since_us for each in served.values()), default=None)
        age = {} if newest_us is None else {"newest_release_age_s": max(0.0, (self.core.now_us() - newest_us) / 1e6)}
        return {
            "ready": float(self.poller.ready),
            "endpoints": float(len(served)),
            "predictions": float(counters.value("rota_predictions_total")),
            "prediction_failures": float(counters.value("rota_prediction_failures_total")),
            "predictions_unlogged": float(counters.value(UNLOGGED)),
            **age,
        }

    def _of_endpoint(self, name: str, is_served: bool) -> Condition:
        problems = self.poller.problems(name)
        if is_served and not problems:
            return Condition(f"endpoint:{name}", "well")
        why = "; ".join(problems) or "no release of it could be loaded, the log of the prediction process says why"
        message = f"endpoint {name!r} is {'served, but' if is_served else 'not served'}: {why}"
        return Condition(f"endpoint:{name}", "degraded" if is_served else "failed", message, {"endpoint": name})

    def _of_releases(self) -> Condition:
        if not self.poller.failing:
            return Condition("releases", "well")
        message = f"new releases are not taken over, the last ones are served: {self.poller.failing}; the log of the prediction process has the rest"
        return Condition("releases", "failed", message)

    def _of_log(self) -> Condition:
        """Not well from the first prediction that could not be logged until others were, at two looks in a row."""
        counters = self.core.counters
        unlogged, predicted = counters.value(UNLOGGED), counters.value("rota_predictions_total")
        missed, made = unlogged - self._unlogged, predicted - self._predicted
        self._unlogged, self._predicted = unlogged, predicted
        self._good_looks = 0 if missed else self._good_looks + bool(made)
        self._missed = self._missed + missed if self._good_looks < _LOGGED_LOOKS else 0
        if not self._missed:
            return Condition("prediction log", "well")
        message = f"{self._missed} predictions were answered and not logged: the home takes no more of the log; look at its disk with `rota doctor`"
        return Condition("prediction log", "failed", message, {"unlogged": self._missed})
