"""Stand-alone HTML documents that load and run nothing: a model card, the reports of deployed models and of deliveries, a dataset's profile."""

from collections.abc import Sequence

from rota.manage.governance.cards import Card
from rota.manage.governance.delivery_times import DeliveryReport
from rota.manage.governance.reports import DeployedModel
from rota.ports.drawing import Drawing
from rota.records.dataset import DatasetVersion
from rota.records.profile import Profile
from rota.records.time import Micros
from rota.rendering import profile_view
from rota.rendering.html import rendered


def card_html(card: Card) -> str:
    """A model card."""
    return rendered("card_report.html", card=card)


def report_html(models: Sequence[DeployedModel], now_us: Micros) -> str:
    """The report of every deployed model."""
    return rendered("report_alone.html", models=models, now_us=now_us)


def delivery_html(found: DeliveryReport) -> str:
    """The report of delivery times."""
    return rendered("delivery_report.html", found=found)


def profile_html(version: DatasetVersion, profile: Profile, drawing: Drawing | None) -> str:
    """The profile of a dataset version; without a drawing engine its counts stand in tables."""
    return rendered("profile_report.html", **profile_view.values(version, profile, drawing))
