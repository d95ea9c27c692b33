"""Whether a version may be released now: the approvals that count, what is missing, and what to do about it.

`approved` says that people said yes. A version is ready when enough of these approvals have not expired, and no risk question
was answered badly since.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rota.errors import Refused
from rota.manage.governance import risk
from rota.manage.models import registered_models
from rota.ports.metadata import Metadata
from rota.records.model import Approval, ModelVersion, ReleasePolicy
from rota.records.release import Canary
from rota.records.time import Micros, iso


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a version may be released at a moment: the approvals that count then, and what is missing (nothing: the gates are open)."""

    version: ModelVersion
    policy: ReleasePolicy
    approvals: tuple[Approval, ...]
    missing: tuple[str, ...]

    @property
    def open(self) -> bool:
        return not self.missing

    @property
    def delivery(self) -> Canary | None:
        """How the newest approval that chose one wants the version delivered."""
        return next((a.delivery for a in reversed(self.approvals) if a.delivery is not None), None)

    @property
    def expires_us(self) -> Micros | None:
        """When the approvals that count cease to be enough."""
        ends = sorted((a.expires_us for a in self.approvals if a.expires_us is not None), reverse=True)
        lasting = len(self.approvals) - len(ends)
        return None if lasting >= self.policy.approvals or not ends else ends[self.policy.approvals - lasting - 1]


def readiness(metadata: Metadata, version: ModelVersion, *, now_us: Micros) -> Readiness:
    """Whether a version may be released now, and if not, what to do."""
    policy = registered_models.release_policy(metadata, version.model)
    given = _counted(decisions(metadata, version))
    valid = tuple(a for a in given if a.expires_us is None or a.expires_us > now_us)
    missing = [f"{problem}; answer it again, or register a better version" for problem in risk.unacceptable(policy, risk.answers(metadata, version))]
    if version.status != "approved":
        missing.append(f"{version.id} is {version.status}; `rota models approve {version.id} --reason ...` decides")
    elif len(valid) < policy.approvals:
        missing.append(_too_few(version, policy, given, valid))
    return Readiness(version, policy, valid, tuple(missing))


def check_ready(metadata: Metadata, version: ModelVersion, act: str, *, now_us: Micros) -> Readiness:
    """The readiness of a version that may be released; `Refused` otherwise, saying what is missing for `act`."""
    found = readiness(metadata, version, now_us=now_us)
    if found.missing:
        raise Refused(f"{act} needs an approved version: {'; '.join(found.missing)}", version=version.id, missing=list(found.missing))
    return found


def decisions(metadata: Metadata, version: ModelVersion) -> list[Approval]:
    """Every decision ever made on a version, oldest first."""
    return metadata.find(Approval, {"model": version.model, "number": version.number}, order="at_us")


def approval_node(approval: Approval) -> str:
    """The lineage node of a decision."""
    return f"approval:{approval.model}@{approval.number}@{approval.at_us}"


def _counted(history: Sequence[Approval]) -> list[Approval]:
    """Approvals since the last decision that was none, the newest of each reviewer, oldest first."""
    counted: dict[str, Approval] = {}
    for decision in history:
        if decision.decision == "approve":
            counted.pop(decision.reviewer, None)
            counted[decision.reviewer] = decision
        else:
            counted.clear()
    return list(counted.values())


def _too_few(version: ModelVersion, policy: ReleasePolicy, approvals: Sequence[Approval], valid: Sequence[Approval]) -> str:
    expired = [a for a in approvals if a not in valid]
    if expired:
        ended = ", ".join(f"that of {a.reviewer} at {iso(a.expires_us or 0)}" for a in expired)
        return f"approvals of {version.id} expired ({ended}); let it be approved again: `rota models approve {version.id} --reason ...`"
    return (
        f"{version.id} has {len(valid)} of the {policy.approvals} approvals that its policy demands; `rota models approve {version.id} --reason ...`"
    )
