"""Nouns of model deployment and serving: endpoints, releases with their traffic split, rollouts and their verdicts."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar, overload

import msgspec

from rota.errors import InvalidInput
from rota.records import own_metric
from rota.records.record import Record, check_name
from rota.records.time import Micros, micros

F = TypeVar("F", bound=Callable[..., Any])
Role = Literal["stable", "canary", "shadow"]
RolloutState = Literal["waiting", "shadow", "canary", "promoted", "rolled_back"]
RolloutPhase = Literal["waiting", "progressing", "paused", "held", "promoted", "rolled_back"]
OnInconclusive = Literal["hold", "promote", "roll_back"]
Strategy = Literal["canary", "blue_green", "shadow", "ab", "bandit"]
Design = Literal["group_sequential", "always_valid", "thompson", "top_two"]


LONGEST_HEADER = 200
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Analysis(Record, frozen=True):
    """One question the judge asks of a rollout before each step.

    error_rate: the candidate's share of failures at most `ratio` times the stable one's plus `bound`; below `at_least` failures it is never
    too large. latency_p95: candidate / stable at most `bound`. metric: the candidate's loss may be worse than the stable one's by at most
    `bound`, on the same labelled predictions. kpi: the candidate's business figure may be worse by at most `bound`: the sum of the outcome `metric`
    over the predictions (`per` ""), the units ("unit"), or the sum of the outcome that `per` names.
    """

    kind: Literal["error_rate", "latency_p95", "metric", "kpi"]
    bound: float
    metric: str = ""
    ratio: float = 1.0
    at_least: int = 0
    per: str = ""
    higher_is_better: bool = False

    @property
    def subject(self) -> str:
        """What it is about, in a word: "" where its kind says that."""
        return f"{self.metric}_per_{self.per or 'prediction'}" if self.kind == "kpi" else self.metric

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.higher_is_better else -1


class HeaderMatch(Record, frozen=True):
    """A request header, whatever its case, and the exact value that it has."""

    header: str
    value: str

    def __str__(self) -> str:
        return f"{self.header}: {self.value}"


class DeliveryStep(Record, frozen=True):
    """One step of a strategy in Argo Rollouts' words, made by `set_weight`, `set_mirror`, `set_header_route`, `pause` and `analysis`.

    set_weight: `weight` percent of the traffic for the candidate. set_mirror: whether it is mirrored beside that. set_header_route: requests with
    the header `match` (value "": no longer) are for the candidate. pause: hold for `duration`, "" until a person resumes. analysis: judge, by
    the strategy's analyses unless the step has its own.
    """

    kind: Literal["set_weight", "set_mirror", "set_header_route", "pause", "analysis"]
    weight: int = 0
    mirror: bool = True
    duration: str = ""
    analyses: Sequence[Analysis] = ()
    match: HeaderMatch | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "analyses", tuple(self.analyses))
        if (self.match is not None) != (self.kind == "set_header_route"):
            raise InvalidInput(f"a {self.kind} step with match {self.match}: set_header_route has a header to match, no other step has one")
        micros(self.duration or "0s")
        if not 0 <= self.weight < 100:
            raise InvalidInput(f"set_weight({self.weight}): percent of the traffic, from 0 to 99; what passed every step is promoted to 100")

    def __str__(self) -> str:
        said = {
            "set_weight": str(self.weight),
            "set_mirror": "" if self.mirror else "off",
            "pause": self.duration,
            "set_header_route": str(self.match),
        }
        return f"{self.kind}({said.get(self.kind) or ', '.join(each.kind for each in self.analyses)})"


class TrafficTest(Record, frozen=True):
    """What a strategy "ab" or "bandit" compares versions by, made by `rota.ab_test` and `rota.bandit`; guardrails are the strategy's analyses.

    `weight` percent go to the candidates together. `primary` decides, with the two-sided error `alpha`. group_sequential: at `looks` looks, the last
    after `units` units (0: planned at the start, for `min_effect` and `power`). always_valid: whenever it is looked at. thompson, top_two: the split
    follows what is believed, from `burn_in` units an arm on, with `floor` percent an arm at least, until an arm is the best with `probability`
    and expected to lose at most the share `loss` of its figure. `window`: so old is a prediction before it counts, with the outcomes dated
    within the window. `cuped` is a feature, as it was at a unit's first prediction, that explains the primary figure.
    """

    primary: Analysis
    design: Design = "group_sequential"
    weight: int = 50
    looks: int = 10
    units: int = 0
    min_effect: float = 0.0
    power: float = 0.8
    alpha: float = 0.05
    srm_alpha: float = 0.001
    window: str = "0s"
    cuped: str = ""
    burn_in: int = 200
    floor: int = 5
    probability: float = 0.99
    loss: float = 0.01

    @property
    def is_bandit(self) -> bool:
        """Whether the split follows what is believed of the arms."""
        return self.design in ("thompson", "top_two")


class Canary(Record, frozen=True):
    """Progressive delivery: shadow first, then growing shares of traffic, each held and judged before the next.

    `steps` are percent of traffic, each held for `hold` and judged, none deliver at once; `shadow` is how long the candidate only mirrors (0s: not
    at all). This is the short form: a step may also be one of Argo Rollouts' (see `DeliveryStep`), and `strategy` "blue_green" and "shadow" are
    what `blue_green` and `shadow` make. Without an `analysis` a judged step passes once the candidate answered a request.

    What the data cannot decide yet is no verdict: the step is held on and judged again. After `max_duration` since the start, pauses left
    out, `on_inconclusive` says what becomes of a candidate that is still undecided: "hold" keeps the split, raises an alert that says what
    is missing, and goes on looking; "promote" delivers it; "roll_back" takes it back. `max_duration` "" is six times what the stages
    take together, two days at least. `patience` is the older word: an undecided step is held so many times more, then rolled back.
    """

    steps: Sequence[int | DeliveryStep] = (5, 25, 50)
    hold: str = "30m"
    shadow: str = "0s"
    analysis: Sequence[Analysis] = ()
    unit: str = ""
    patience: int | None = None
    on_inconclusive: OnInconclusive = "hold"
    max_duration: str = ""
    strategy: Strategy = "canary"
    test: TrafficTest | None = None

    def __post_init__(self) -> None:
        for field in ("steps", "analysis"):
            msgspec.structs.force_setattr(self, field, tuple(getattr(self, field)))
        micros(self.hold), micros(self.shadow), micros(self.max_duration or "0s")
        weights = [step for step in self.steps if not isinstance(step, DeliveryStep)]
        if weights != sorted(set(weights)) or any(not 0 < weight < 100 for weight in weights):
            raise InvalidInput(f"canary steps {weights} must grow and lie between 1 and 99 percent", steps=weights)

    @property
    def experiment(self) -> TrafficTest | None:
        """What its versions are compared by, where the strategy is an experiment."""
        return self.test if self.strategy in ("ab", "bandit") else None


class Endpoint(Record, frozen=True):
    """An address that predicts with a model's champion; new approved versions reach it by its rollout strategy."""

    name: str
    model: str
    rollout: Canary = Canary()

    def __post_init__(self) -> None:
        check_name("endpoint", self.name)


class Route(Record, frozen=True):
    """A model version placed on an endpoint; the weights (percent) of the answering routes sum to 100, a shadow has 0."""

    model: str
    number: int
    bundle: str
    role: Role
    weight: int


class HeaderRoute(Record, frozen=True):
    """Requests with this header are for version `number` of the release, whatever the weights."""

    match: HeaderMatch
    number: int


class Release(Record, frozen=True):
    """What an endpoint serves now. Prediction processes poll it and keep the last good one; `revision` grows by one.

    `headers` come before the weights, in their order: the version of the first that a request has answers it.
    """

    endpoint: str
    revision: int
    routes: tuple[Route, ...]
    unit: str
    since_us: Micros
    rollout: str = ""
    salt: str = ""
    headers: tuple[HeaderRoute, ...] = ()


class Serving(Record, frozen=True):
    """What one prediction process really serves: its answer to a Release (`error` says why it refused one)."""

    endpoint: str
    process: str
    revision: int
    at_us: Micros
    error: str = ""


class Unloaded(Record, frozen=True):
    """Somebody took an endpoint out of serving by the prediction port: no process answers for it until it is loaded again."""

    endpoint: str
    by: str
    at_us: Micros


class ServingLogLevel(Record, frozen=True):
    """How much prediction processes write to their own logs since somebody set it by the prediction port; `name` is always "serving"."""

    name: str
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    by: str
    at_us: Micros


class OutOfService(Record, frozen=True):
    """A model version that ended prediction processes too often: no process serves its bundle until somebody returned it to service.

    `cause` is a fatal signal in words, or "hung"; `endpoint`, `process` and `at_us` are those of the last end. Ends up to `returned_us` count
    no more; when the version ends processes again the record stands anew.
    """

    bundle: str
    model: str
    number: int
    endpoint: str
    process: str
    cause: str
    at_us: Micros
    returned_us: Micros | None = None
    returned_by: str = ""
    reason: str = ""


RolloutVerb = Literal["promote", "abort", "pause", "resume"]


class RolloutCommand(Record, frozen=True):
    """What a person asked of a rollout under way, and why."""

    verb: RolloutVerb
    actor: str
    reason: str
    at_us: Micros


class Rollout(Record, frozen=True):
    """The progressive delivery of one version; `history` holds each judged step, `commands` what people asked of it, in order.

    `strategy` is the one that it began with (None: begun by an older release, which read the endpoint's each time); `held_us` is since when
    it is held because its time is over and the data have not decided; `missing` is what the last judgement still waits for;
    `plan` is what its start expected it to take. `arms` are the candidates of an experiment beside `candidate`, which is the winner once one is
    promoted.
    """

    id: str
    endpoint: str
    model: str
    candidate: int
    champion: int
    state: RolloutState
    step: int
    started_us: Micros
    ended_us: Micros | None = None
    reason: str = ""
    history: tuple[Mapping[str, Any], ...] = ()
    commands: tuple[RolloutCommand, ...] = ()
    strategy: Canary | None = None
    held_us: Micros | None = None
    missing: str = ""
    plan: Mapping[str, Any] = {}
    arms: tuple[int, ...] = ()

    @property
    def candidates(self) -> tuple[int, ...]:
        """The versions that are compared with the champion."""
        return (self.candidate, *(number for number in self.arms if number != self.candidate))

    @property
    def phase(self) -> RolloutPhase:
        """Where it stands for those who may ask something of it; see `rota.deploy.rollout_states`."""
        if self.state in ("waiting", "promoted", "rolled_back"):
            return self.state
        return "paused" if self.paused else "held" if self.held_us is not None else "progressing"

    @property
    def paused(self) -> RolloutCommand | None:
        """The pause that lasts, if one does: the split of the traffic stays and no stage is judged."""
        return self.commands[-1] if self.ended_us is None and self.commands and self.commands[-1].verb == "pause" else None


def error_rate(*, margin: float = 0.01, ratio: float = 1.0, at_least: int = 5) -> Analysis:
    """The candidate's share of failed predictions may be at most `ratio` times the stable one's plus `margin`.

    Below `at_least` failures a candidate is never rolled back for it. A share that is usually small wants a small margin: `margin=0.001` finds
    four times 0.5 % in an hour with 20 requests a minute, and `ratio=2, margin=0` allows twice as many as the stable version has.
    """
    return Analysis("error_rate", margin, ratio=ratio, at_least=at_least)


def latency_p95(*, ratio: float = 1.2) -> Analysis:
    """The candidate's 95th percentile of latency may be at most `ratio` times the stable one's."""
    return Analysis("latency_p95", ratio)


@overload
def metric(name: str, *, margin: float) -> Analysis: ...


@overload
def metric(*, higher_is_better: bool, lowest: float | None = None, highest: float | None = None) -> Callable[[F], F]: ...


def metric(
    name: str = "",
    *,
    margin: float | None = None,
    higher_is_better: bool | None = None,
    lowest: float | None = None,
    highest: float | None = None,
) -> Any:
    """With a name an analysis of a rollout: by a loss or a metric of its problem, or a metric of its pipeline's own, the candidate may be worse than
    the stable version by at most `margin`.

    Without one, above a function, a metric of a team's own: which direction is better, and between which ends its values lie. The function
    takes `(truth, answers)`, arrays of one row a prediction, or one `rota.problems.problem_type.ScoredRows`, and gives a number, NaN where it is
    not defined. `rota.TrainingPipeline(..., metrics=[it])` measures every candidate by it, gates and analyses of a rollout may name it, and the
    monitor of an endpoint of its model measures and judges each day by it.

    >>> @metric(higher_is_better=False, lowest=0)
    ... def worst_miss(truth, answers):
    ...     return abs(truth - answers).max()
    """
    if name:
        if margin is None or not (higher_is_better is lowest is highest is None):
            raise InvalidInput(f"metric({name!r}) is an analysis of a rollout: give its margin, and nothing else", metric=name)
        return Analysis("metric", margin, name)
    if higher_is_better is None or margin is not None:
        raise InvalidInput(
            "write @rota.metric(higher_is_better=True) above a function, or rota.metric(name, margin=...) for an analysis of a rollout"
        )
    return partial(own_metric.marked, higher_is_better=higher_is_better, lowest=lowest, highest=highest)


def set_weight(percent: int) -> DeliveryStep:
    """Give the candidate this share of the traffic, from 0 to 99 percent."""
    return DeliveryStep("set_weight", weight=percent)


def set_mirror(on: bool = True) -> DeliveryStep:
    """Let the candidate answer the same requests without being heard, or no longer; it is mirrored until told otherwise."""
    return DeliveryStep("set_mirror", mirror=on)


def set_header_route(header: str, value: str = "") -> DeliveryStep:
    """Send requests whose header has exactly this value to the candidate, whatever its weight; without a value no longer. It ends with the rollout.

    The header's name is an HTTP token in whatever case. Who sends the header chooses the version, so these predictions are not compared.
    """
    if not _TOKEN.fullmatch(header) or not value.isprintable() or not value.isascii() or value != value.strip() or len(value) > LONGEST_HEADER:
        raise InvalidInput(
            f"set_header_route({header!r}, {value!r}): give the name of an HTTP header and the printable ASCII value, at most {LONGEST_HEADER} "
            'characters without space around, that it has exactly, for example set_header_route("x-beta", "yes")',
            header=header,
            value=value,
        )
    return DeliveryStep("set_header_route", match=HeaderMatch(header.lower(), value))


def pause(duration: str = "") -> DeliveryStep:
    """Hold the split for a duration; without one until a person resumes (or promotes, or aborts)."""
    return DeliveryStep("pause", duration=duration)


def analysis(*analyses: Analysis) -> DeliveryStep:
    """Judge everything since the rollout began, by these analyses, or without any by those of the strategy."""
    return DeliveryStep("analysis", analyses=analyses)


def blue_green(*, preview: str, analysis: Sequence[Analysis] = (), **options: Any) -> Canary:
    """A preview without traffic, mirrored and judged, then one switch of all traffic. `options` are those of a `Canary` without steps.

    The version before stays known to the endpoint: `rota rollout undo` switches back at once.
    """
    return Canary(strategy="blue_green", steps=(), shadow=preview, analysis=analysis, **options)


def shadow(duration: str, *, analysis: Sequence[Analysis] = (), **options: Any) -> Canary:
    """Mirror and judge a candidate, which never answers by itself: when it passed it waits, mirrored, for a person's promote or abort."""
    return Canary(strategy="shadow", steps=(), shadow=duration, analysis=analysis, **options)
