"""Endpoints and monitors that are declared one by one, beside those of a project: for models that no pipeline here trains."""

from collections.abc import Sequence

from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage import spellings
from rota.manage.models import cron, own_metrics, registered_models, strategies
from rota.ports.metadata import Batch, Metadata
from rota.records.release import Canary, Endpoint
from rota.records.signal import Monitor
from rota.records.time import Micros


def create(metadata: Metadata, endpoint: Endpoint, *, actor: str, now_us: Micros) -> Endpoint:
    """Declare an endpoint of a registered model; `Conflict` when there is another one of that name. Declaring the same again changes nothing."""
    registered_models.get(metadata, endpoint.model)
    own = [metric.name for metric in own_metrics.declared(metadata, endpoint.model)]
    if found := strategies.faults(endpoint.rollout, None, own=own):
        raise InvalidInput(f"endpoint {endpoint.name!r} cannot deliver: {'; '.join(found)}", endpoint=endpoint.name)
    before = metadata.get(Endpoint, endpoint.name)
    if before == endpoint:
        return endpoint
    spellings.check(metadata, spellings.ENDPOINTS, endpoint.name)
    if before is not None:
        raise Conflict(
            f"there is an endpoint {endpoint.name!r} of model {before.model!r}; it is changed where it was declared", endpoint=endpoint.name
        )
    batch = Batch()
    batch.create(endpoint)
    batch.audit(actor, "endpoint.add", endpoint.name, now_us, model=endpoint.model)
    metadata.commit(batch)
    return endpoint


def watch(
    metadata: Metadata, name: str, *, schedule: str, days_between_false_alarms: int, off: Sequence[str] = (), actor: str, now_us: Micros
) -> Monitor:
    """Watch an endpoint from now on, or otherwise than before; `off` as in `Monitor`."""
    endpoint = metadata.get(Endpoint, name)
    if endpoint is None:
        raise NotFound(f"there is no endpoint {name!r}; `rota endpoints list` shows them", endpoint=name)
    cron.check(schedule)
    before = metadata.get(Monitor, name)
    monitor = Monitor(endpoint, schedule=schedule, expected_days_between_false_alarms=days_between_false_alarms, off=tuple(off))
    if monitor == before:
        return monitor
    batch = Batch()
    batch.put(monitor, replacing=before)
    batch.audit(actor, "monitor.add" if before is None else "monitor.change", name, now_us, schedule=schedule)
    metadata.commit(batch)
    return monitor


def strategy(*, steps: str, hold: str, shadow: str, unit: str) -> Canary:
    """A canary from the words of a command; no steps deliver at once."""
    try:
        percents = [int(step) for step in steps.split(",") if step.strip()]
    except ValueError:
        raise InvalidInput(f"steps {steps!r} are no list of percents; write for example 5,25,50", steps=steps) from None
    return Canary(steps=percents, hold=hold, shadow=shadow, unit=unit)
