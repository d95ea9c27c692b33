"""Nouns of the model registry and its governance."""

from collections.abc import Mapping
from typing import Any, Literal

from rota.errors import InvalidInput
from rota.records.data import FeatureService
from rota.records.limits import KEPT_CLASSES, MOST_CLASSES
from rota.records.record import Record, check_name
from rota.records.release import Canary
from rota.records.run import Problem
from rota.records.schema import Type
from rota.records.time import Micros, micros

VersionStatus = Literal["registered", "in_review", "changes_requested", "approved", "rejected", "deleted"]
RiskCategory = Literal["business", "legal", "ethical"]
CHAMPION = "champion"
CHALLENGER = "challenger"
SHOWN_OUTPUTS = 10
"""Names of outputs that a sentence lists."""
MAX_APPROVALS = 20
"""How many people a policy may demand at most."""


class TransformedColumn(Record, frozen=True):
    """How one feature becomes one column of the model's matrix: a number as it is, a text as its vocabulary's index, or `raw` as itself.

    A list of numbers is as many columns, each with the `feature` that it is of and its `place` there, from 0; they are named "feature.1",
    "feature.2" and so on.
    """

    name: str
    type: Type
    vocabulary: tuple[str, ...] = ()
    raw: bool = False
    feature: str = ""
    place: int = 0

    @property
    def source(self) -> str:
        """The feature that the column is made of."""
        return self.feature or self.name


class Transformation(Record, frozen=True):
    """The fitted preprocessing shared by training and serving: float64 matrix, null = NaN, unseen text = len(vocabulary).

    With a raw column it is a matrix of objects: floats, and in raw columns texts, null = None.
    """

    columns: tuple[TransformedColumn, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the matrix is made of, in their order."""
        return tuple(dict.fromkeys(column.source for column in self.columns))

    @property
    def has_texts(self) -> bool:
        """Whether any text comes to the model as it is."""
        return any(column.raw for column in self.columns)


class RegistrationParity(Record, frozen=True):
    """What the served path answered at registration beside the author's own object, on rows made to reach what can differ.

    `compared` rows were answered by both, no two answers further apart than `tolerance` (absolute, and relative beyond 1), `difference`
    at most. `refused` rows the author's object answers by an error, `unanswered` ones only the served path. `author` is the class of the
    object. Where nothing was compared `left_out` says why. `narrow_difference`: the object itself answers that far apart for the same
    numbers as float32 and as float64; requests are float64.
    """

    compared: int = 0
    refused: int = 0
    unanswered: int = 0
    difference: float = 0.0
    tolerance: float = 0.0
    author: str = ""
    left_out: str = ""
    narrow_difference: float = 0.0

    @property
    def sentence(self) -> str:
        """What it found, for people."""
        if not self.compared:
            return f"not compared with the author's object: {self.left_out or 'it was registered before this was done'}"
        told = f"{self.compared} rows answered as by the author's {self.author} (largest difference {self.difference:.1g})"
        told += f"; it refuses {self.refused} more" if self.refused else ""
        told += f"; {self.unanswered} that it answers are refused when served" if self.unanswered else ""
        apart = f"; given float32 instead of the float64 that is served, it answers up to {self.narrow_difference:.2g} apart: train it on float64"
        return told + (apart if self.narrow_difference else "")


class EngineGuard(Record, frozen=True):
    """Which cells the author's model refuses, so that a faster engine refuses them too; by column of the matrix.

    A number must lie from `low` to `high` (None: anything, also infinite), a null is taken only where `nulls` says so. `why` are the model's own
    words for a null and for a number that it refuses.
    """

    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    nulls: tuple[bool, ...] = ()
    why_null: str = ""
    why_number: str = ""


class EngineChoice(Record, frozen=True):
    """Which engine serves a model, and why: the library of its format, or a converted file that was found to answer the same.

    `blob` is the converted file ("": the model is served as its author gave it). `compared` rows were answered by both, `sampled` of them real
    ones, the others made to reach thresholds, nulls and unseen texts; `difference` is the largest (relative beyond 1). `refused` rows are refused by
    both. `row_us` and `native_row_us` are the times of one row where it was registered; `versions` names the libraries that converted.
    """

    engine: str
    why: str
    blob: str = ""
    compared: int = 0
    sampled: int = 0
    refused: int = 0
    difference: float = 0.0
    tolerance: float = 0.0
    guard: EngineGuard | None = None
    row_us: float = 0.0
    native_row_us: float = 0.0
    size_bytes: int = 0
    versions: Mapping[str, str] = {}

    @property
    def sentence(self) -> str:
        """Which engine serves and why, for people."""
        return f"{self.engine}: {self.why}"


class ModelTensor(Record, frozen=True):
    """An array as a model itself names it: `datatype` is of the Open Inference Protocol, the first length of `shape` (-1) the rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


GoldenAnswer = float | tuple[float | None, ...] | str
"""The answer to a golden row as a predictor gives it: a number, numbers (None: NaN), or the JSON of anything else."""
GoldenRow = tuple[float | str | None, ...]
"""One row of the model's matrix: numbers (None: null), and texts where the model reads them as they are."""


class ModelBundle(Record, frozen=True):
    """Everything a prediction process needs, by digest: model bytes, transformation, features, golden rows.

    Golden rows are transformed matrix rows with the answers the model gave at registration; a process that cannot
    reproduce them to `tolerance` (absolute, and relative to answers beyond 1) refuses the bundle. `seal` signs model and blob
    where the bytes run code when they are loaded. `classes` names the two classes where the model has names for them; an answer
    is the probability of the second. `outputs` names the numbers of an answer that has several: classes, targets, levels. `group` is the
    field of a request by whose value rows belong together ("": none), where the problem judges rows by groups.
    `engine` says what serves the model (None: its format's own library; nothing else was looked for).
    `input_tensors` are the arrays that a model registered as tensors takes, whose columns are those of the matrix in their order;
    `output_tensor` is the one that holds its answers. Without them each field of a request is a tensor.
    """

    model: str
    format: str
    blob: str
    problem: Problem
    features: FeatureService
    transformation: Transformation
    golden_rows: tuple[GoldenRow, ...]
    golden_answers: tuple[GoldenAnswer, ...]
    dependencies: Mapping[str, str] = {}
    seal: str = ""
    tolerance: float = 1e-9
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    group: str = ""
    group_type: Type = "string"
    engine: EngineChoice | None = None
    input_tensors: tuple[ModelTensor, ...] = ()
    output_tensor: ModelTensor | None = None

    @property
    def request_fields(self) -> dict[str, Type]:
        """The fields of a request with their types: what its features are made of, and the group that a row belongs to."""
        fields = self.features.request_fields
        return {**fields, self.group: self.group_type} if self.group and self.group not in fields else dict(fields)

    @property
    def names(self) -> tuple[str, ...]:
        """What the problem's forms are asked with: the outputs, or the two classes of which the second is answered."""
        return self.outputs or self.classes


class RegisteredModel(Record, frozen=True):
    """A name under which versions are registered; `owner` answers for it. The record of a deleted model stays, with its moment."""

    name: str
    project: str = "default"
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}
    created_us: Micros = 0
    updated_us: Micros = 0
    deleted_us: Micros | None = None


class ModelVersion(Record, frozen=True):
    """An immutable numbered version of a model: what it is (bundle), where it comes from, how it was judged.

    What describes it may change (status, description, tags, owner), each time with an audit entry; what it is never does. A version
    with an empty `bundle` cannot be served, `unservable` says why. `artifacts` is the root of its files when it came from
    a tracked run, `source` the URI it was registered from; `signature` is a JSON text in MLflow's form; `input_example` and
    `requirements` are blobs. `seal` signs a bundle that is kept as pickle. `classes`, `outputs` and
    `problem` are those of its bundle, and so is `engine`; `parity` compares what is served of it with the author's own object. `group` is the
    field of a request that names the rows which a row is judged together with ("": none).
    """

    model: str
    number: int
    bundle: str
    format: str
    run: str
    dataset: str
    release: str
    created_us: Micros
    status: VersionStatus = "registered"
    metrics: Mapping[str, float] = {}
    parameters: Mapping[str, Any] = {}
    evaluation: str = ""
    statistics: str = ""
    trigger: str = "manual"
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}
    updated_us: Micros = 0
    source: str = ""
    artifacts: str = ""
    signature: str = ""
    input_example: str = ""
    requirements: str = ""
    unservable: str = ""
    seal: str = ""
    experiment_run: str = ""
    registered_by: str = ""
    classes: tuple[str, ...] = ()
    parity: RegistrationParity | None = None
    outputs: tuple[str, ...] = ()
    problem: Problem = ""
    group: str = ""
    engine: EngineChoice | None = None

    @property
    def id(self) -> str:
        return f"{self.model}@{self.number}"

    @property
    def answer(self) -> str:
        """What an answer of this version means, where its classes or outputs have names: the probability of which, a number for which."""
        if self.classes:
            return f"the probability of {self.classes[-1]!r} (the other class is {self.classes[0]!r})"
        if not self.outputs:
            return ""
        more = len(self.outputs) - SHOWN_OUTPUTS
        named = ", ".join(map(repr, self.outputs[:SHOWN_OUTPUTS])) + (f" and {more} more" if more > 0 else "")
        if self.problem != "multiclass":
            return f"a number for each of {named}"
        logged = f" (the log keeps those of the {KEPT_CLASSES} likeliest)" if len(self.outputs) > MOST_CLASSES else ""
        return f"the likeliest of the classes {named}, with the probability of each{logged}"

    @property
    def approval_status(self) -> str:
        """The status in SageMaker's words: PendingManualApproval, Approved or Rejected."""
        return {"approved": "Approved", "rejected": "Rejected", "deleted": "Rejected"}.get(self.status, "PendingManualApproval")


class Alias(Record, frozen=True):
    """A movable name of a version; its history is in the audit log."""

    model: str
    alias: str
    number: int
    since_us: Micros
    reason: str = ""


class AliasMove(Record, frozen=True):
    """One entry of an alias's history, numbered from 1; `number` is 0 when the alias was removed. Never changed, never removed.

    `evidence` names what the move rests on: an approval, a rollout with its verdicts, or a person's reason.
    """

    model: str
    alias: str
    move: int
    number: int
    before: int
    at_us: Micros
    actor: str
    reason: str
    evidence: Mapping[str, Any] = {}


class ReviewRequest(Record, frozen=True):
    """Somebody asks for a decision on a version. The newest request of a version counts."""

    model: str
    number: int
    at_us: Micros
    requested_by: str
    comment: str = ""
    state: Literal["open", "approved", "rejected", "changes_requested", "withdrawn"] = "open"


class RiskQuestion(Record, frozen=True):
    """A question that must be answered before a version may be approved."""

    id: str
    category: RiskCategory
    text: str
    required: bool = True


class RiskAnswer(Record, frozen=True):
    """An answer to a risk question about a version; the newest counts, and an answer that is not `acceptable` blocks approval."""

    model: str
    number: int
    question: str
    at_us: Micros
    answer: str
    acceptable: bool
    answered_by: str


class Approval(Record, frozen=True):
    """A governance decision on a version with its reviewer, reason and evidence (offline gates and online results).

    An approval past `expires_us` no longer opens a gate. `delivery` is how the release shall be delivered when the reviewer chose it.
    """

    model: str
    number: int
    decision: Literal["approve", "reject", "request_changes"]
    reviewer: str
    reason: str
    evidence: Mapping[str, Any]
    at_us: Micros
    expires_us: Micros | None = None
    delivery: Canary | None = None


class ReleasePolicy(Record, frozen=True):
    """How a model's versions are released.

    automatic: approved when both gates passed and a gate on the model could judge it, and rolled out. semi-automatic: a person
    approves, the rollout starts by itself. manual: a person approves and starts the rollout. The policy of model "*" holds for
    models without one of their own.
    `four_eyes`: who registered the version or asked for its review cannot approve it. `approvals`: how many different
    people must approve. `valid`: how long an approval lasts ("" = for good). A `protected` alias points only at versions with a valid approval.
    """

    model: str
    level: Literal["automatic", "semi-automatic", "manual"] = "automatic"
    four_eyes: bool = False
    approvals: int = 1
    valid: str = ""
    questions: tuple[RiskQuestion, ...] = ()
    protected: tuple[str, ...] = (CHAMPION,)

    def __post_init__(self) -> None:
        if not 1 <= self.approvals <= MAX_APPROVALS:
            raise InvalidInput(f"policy of {self.model!r}: approvals = {self.approvals} must lie between 1 and {MAX_APPROVALS}", model=self.model)
        if self.level == "automatic" and self.approvals > 1:
            raise InvalidInput(f"policy of {self.model!r}: level automatic has no people, so approvals = {self.approvals} can never be reached")
        if self.valid and micros(self.valid) < 1:
            raise InvalidInput(f'policy of {self.model!r}: valid = {self.valid!r} would expire at once; write for example "90d", or leave it out')
        ids = [check_name("risk question", question.id) for question in self.questions]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise InvalidInput(f"policy of {self.model!r}: the questions {twice} are there twice; give each an id of its own", model=self.model)
        for alias in self.protected:
            check_name("protected alias", alias)


class PickleAllowance(Record, frozen=True):
    """Somebody with the permission allowed that versions of a model are kept as pickle, which runs code when it is loaded."""

    model: str
    allowed_by: str
    reason: str
    at_us: Micros
    withdrawn_us: Micros | None = None


class ModelCard(Record, frozen=True):
    """What people wrote on a version's card, section by section; the rest of a card is made from metadata."""

    model: str
    number: int
    sections: Mapping[str, str] = {}
    edited_us: Micros = 0
    edited_by: str = ""
