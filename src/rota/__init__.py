"""Rota: the whole MLOps loop in one package.

The public names are loaded when they are first used, so `import rota` opens no engine and takes a few milliseconds.
Checkers and editors read the imports below; Python reads `_HOMES`, which a test holds equal to them.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the one place where this is used: it hides no cycle, it tells checkers what `__getattr__` will answer
    from rota.client import Client as Client
    from rota.develop.tracking import current_run as current_run
    from rota.develop.tuning import Trial as Trial
    from rota.errors import Conflict as Conflict
    from rota.errors import Corrupt as Corrupt
    from rota.errors import InvalidInput as InvalidInput
    from rota.errors import NotFound as NotFound
    from rota.errors import Refused as Refused
    from rota.errors import RotaError as RotaError
    from rota.errors import Unavailable as Unavailable
    from rota.manage.features.expressions.python_functions import transform as transform
    from rota.manage.features.ingestion.file_source import FileSource as FileSource
    from rota.programs import FeatureStore as FeatureStore
    from rota.programs import apply as apply
    from rota.programs import autolog as autolog
    from rota.programs import calibrate as calibrate
    from rota.programs import compare as compare
    from rota.programs import load as load
    from rota.programs import read_dataset as read_dataset
    from rota.programs import register_model as register_model
    from rota.programs import track as track
    from rota.programs import tune as tune
    from rota.records.data import Contract as Contract
    from rota.records.data import Entity as Entity
    from rota.records.data import Feature as Feature
    from rota.records.data import FeatureService as FeatureService
    from rota.records.data import FeatureView as FeatureView
    from rota.records.data import OnDemandFeatureView as OnDemandFeatureView
    from rota.records.data import PushSource as PushSource
    from rota.records.data import Source as Source
    from rota.records.data import count as count
    from rota.records.data import last as last
    from rota.records.data import maximum as maximum
    from rota.records.data import mean as mean
    from rota.records.data import minimum as minimum
    from rota.records.data import outcomes as outcomes
    from rota.records.data import share as share
    from rota.records.data import sql as sql
    from rota.records.data import total as total
    from rota.records.dataset import Dataset as Dataset
    from rota.records.dataset import DatasetDefinition as DatasetDefinition
    from rota.records.dataset import GroupSplit as GroupSplit
    from rota.records.dataset import RandomSplit as RandomSplit
    from rota.records.dataset import TimeSplit as TimeSplit
    from rota.records.experiment import ab_test as ab_test
    from rota.records.experiment import bandit as bandit
    from rota.records.experiment import kpi as kpi
    from rota.records.fields import Field as Field
    from rota.records.fields import RequestSource as RequestSource
    from rota.records.model import ReleasePolicy as ReleasePolicy
    from rota.records.project import UseCase as UseCase
    from rota.records.release import Canary as Canary
    from rota.records.release import Endpoint as Endpoint
    from rota.records.release import analysis as analysis
    from rota.records.release import blue_green as blue_green
    from rota.records.release import error_rate as error_rate
    from rota.records.release import latency_p95 as latency_p95
    from rota.records.release import metric as metric
    from rota.records.release import pause as pause
    from rota.records.release import set_header_route as set_header_route
    from rota.records.release import set_mirror as set_mirror
    from rota.records.release import set_weight as set_weight
    from rota.records.release import shadow as shadow
    from rota.records.run import RetryPolicy as RetryPolicy
    from rota.records.run import TrainingPipeline as TrainingPipeline
    from rota.records.run import at_least as at_least
    from rota.records.run import at_most as at_most
    from rota.records.run import cron as cron
    from rota.records.run import new_data as new_data
    from rota.records.run import not_worse_than_champion as not_worse_than_champion
    from rota.records.run import on_alert as on_alert
    from rota.records.run import per_slice as per_slice
    from rota.records.schema import ColumnSchema as ColumnSchema
    from rota.records.signal import Monitor as Monitor
    from rota.records.value_types import category as category
    from rota.settings import Settings as Settings
    from rota.supervisor.running import up as up
    from rota.train.fitting import step as step
    from rota.train.training_data import Rows as Rows
    from rota.train.training_data import TrainingData as TrainingData

    __version__: str

_HOMES: Mapping[str, str] = {
    "Canary": "rota.records.release",
    "Client": "rota.client",
    "Contract": "rota.records.data",
    "GroupSplit": "rota.records.dataset",
    "RandomSplit": "rota.records.dataset",
    "last": "rota.records.data",
    "maximum": "rota.records.data",
    "minimum": "rota.records.data",
    "ColumnSchema": "rota.records.schema",
    "Conflict": "rota.errors",
    "Corrupt": "rota.errors",
    "Dataset": "rota.records.dataset",
    "DatasetDefinition": "rota.records.dataset",
    "Endpoint": "rota.records.release",
    "Entity": "rota.records.data",
    "Feature": "rota.records.data",
    "FeatureService": "rota.records.data",
    "FeatureStore": "rota.programs",
    "FeatureView": "rota.records.data",
    "Field": "rota.records.fields",
    "FileSource": "rota.manage.features.ingestion.file_source",
    "InvalidInput": "rota.errors",
    "Monitor": "rota.records.signal",
    "NotFound": "rota.errors",
    "OnDemandFeatureView": "rota.records.data",
    "PushSource": "rota.records.data",
    "Refused": "rota.errors",
    "ReleasePolicy": "rota.records.model",
    "RequestSource": "rota.records.fields",
    "RotaError": "rota.errors",
    "Settings": "rota.settings",
    "Source": "rota.records.data",
    "TimeSplit": "rota.records.dataset",
    "TrainingData": "rota.train.training_data",
    "TrainingPipeline": "rota.records.run",
    "Unavailable": "rota.errors",
    "UseCase": "rota.records.project",
    "Rows": "rota.train.training_data",
    "Trial": "rota.develop.tuning",
    "tune": "rota.programs",
    "apply": "rota.programs",
    "autolog": "rota.programs",
    "calibrate": "rota.programs",
    "compare": "rota.programs",
    "at_least": "rota.records.run",
    "at_most": "rota.records.run",
    "category": "rota.records.value_types",
    "count": "rota.records.data",
    "current_run": "rota.develop.tracking",
    "cron": "rota.records.run",
    "ab_test": "rota.records.experiment",
    "bandit": "rota.records.experiment",
    "kpi": "rota.records.experiment",
    "analysis": "rota.records.release",
    "blue_green": "rota.records.release",
    "error_rate": "rota.records.release",
    "pause": "rota.records.release",
    "set_header_route": "rota.records.release",
    "set_mirror": "rota.records.release",
    "set_weight": "rota.records.release",
    "shadow": "rota.records.release",
    "latency_p95": "rota.records.release",
    "load": "rota.programs",
    "mean": "rota.records.data",
    "metric": "rota.records.release",
    "new_data": "rota.records.run",
    "RetryPolicy": "rota.records.run",
    "not_worse_than_champion": "rota.records.run",
    "on_alert": "rota.records.run",
    "outcomes": "rota.records.data",
    "per_slice": "rota.records.run",
    "read_dataset": "rota.programs",
    "register_model": "rota.programs",
    "share": "rota.records.data",
    "sql": "rota.records.data",
    "step": "rota.train.fitting",
    "total": "rota.records.data",
    "track": "rota.programs",
    "transform": "rota.manage.features.expressions.python_functions",
    "up": "rota.supervisor.running",
}


if not TYPE_CHECKING:  # or else a checker would believe every misspelt name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("rota")
        if name not in _HOMES:
            raise AttributeError(f"module 'rota' has no attribute {name!r}; its public names are {sorted(_HOMES)}")
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
