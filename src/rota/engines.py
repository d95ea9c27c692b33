"""Engines: which backend each setting chooses. Beside `record_engines`, the only text that names a backend."""

import importlib.util
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from rota.backends import audit_heads
from rota.backends.alert_sinks import LogSink, WebhookSink
from rota.backends.home_secrets import PrivateFile, private_file
from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.local_processes import LocalProcesses
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.online import MemoryOnline
from rota.backends.models.format_registry import FormatRegistry
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.opened_later import opened_later
from rota.backends.sql.snapshot import SqlSnapshot, is_vacant, load
from rota.backends.storage.backup_directory import BackupDirectory
from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.delta_places import Directory
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.home_files import HomeDirectory
from rota.backends.storage.segment_journal import SegmentJournal
from rota.backends.storage.table_files import DirectoryTableFiles
from rota.backends.temporary_places import own_place
from rota.develop.autologging import Autologging
from rota.errors import InvalidInput
from rota.manage.repositories import Repositories
from rota.ports.alerts import AlertSink
from rota.ports.backup import BackupPlace, HomeFiles, MetadataSnapshot, TableFiles
from rota.ports.blobs import Blobs
from rota.ports.compute import Compute
from rota.ports.drawing import Drawing
from rota.ports.inputs import Inputs
from rota.ports.models import ModelFormat, Seals
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.ports.tuning import Tuner
from rota.record_engines import clock, made, record_stores
from rota.records.time import Micros
from rota.settings import Settings

FORMATS = {
    "lightgbm": ("rota.backends.models.lightgbm_format", "LightGBMFormat", ("lightgbm",)),
    "xgboost": ("rota.backends.models.xgboost_format", "XGBoostFormat", ("xgboost",)),
    "catboost": ("rota.backends.models.catboost_format", "CatBoostFormat", ("catboost",)),
    "skops": ("rota.backends.models.skops_format", "SkopsFormat", ("skops", "sklearn")),
    "onnx": ("rota.backends.models.onnx_format", "OnnxFormat", ("onnxruntime", "onnx")),
    "torch": ("rota.backends.models.torch_format", "TorchFormat", ("torch", "safetensors")),
    "converted": ("rota.backends.models.converted_format", "ConvertedFormat", ("onnxruntime",)),
    "pickle": ("rota.backends.models.pickle_format", "PickleFormat", ("cloudpickle",)),
}
"""Model formats by name: backend module, class, and the libraries whose presence installs it. The first that accepts a model keeps it."""
SHORTEST_KEY = 32
AUTOLOGGERS = {
    "lightgbm": "rota.backends.autolog.lightgbm_autolog",
    "sklearn": "rota.backends.autolog.sklearn_autolog",
}
"""Modules that let a library's fits log themselves, by the library whose presence installs them."""


def repositories(settings: Settings) -> Repositories:
    """The repositories of the settings' home; the home is made when it is new."""
    home = made(settings)
    blobs, tables = storage(settings)
    records = record_stores(settings)
    return Repositories(
        metadata=records.metadata,
        runs=records.runs,
        blobs=blobs,
        tables=tables,
        online=online(settings),
        journal=SegmentJournal(home / "log"),
        clock=clock(settings),
        tracking=records.tracking,
    )


def serving_repositories(settings: Settings) -> Repositories:
    """The repositories of a prediction process: servers that are away are opened as soon as they answer, so that it starts without them."""
    home = made(settings)
    blobs, tables = storage(settings)
    records = opened_later(lambda: record_stores(settings))
    return Repositories(
        metadata=opened_later(lambda: records.metadata),
        runs=opened_later(lambda: records.runs),
        blobs=blobs,
        tables=tables,
        online=opened_later(lambda: online(settings)) if settings.online_url else online(settings),
        journal=SegmentJournal(home / "log"),
        clock=clock(settings),
        tracking=opened_later(lambda: records.tracking),
    )


def development_repositories(settings: Settings) -> Repositories:
    """The stores that a program of a data scientist works with; it never touches online features and the journal, so none is opened."""
    blobs, tables = storage(settings)
    records = record_stores(settings)
    return Repositories(
        metadata=records.metadata,
        runs=records.runs,
        blobs=blobs,
        tables=tables,
        online=MemoryOnline(),
        journal=MemoryJournal(),
        clock=clock(settings),
        tracking=records.tracking,
    )


def installed_formats(seals: Seals | None = None) -> Mapping[str, ModelFormat]:
    """Every model format whose library is installed; without seals no pickle is loaded."""
    return FormatRegistry(FORMATS, sealed=frozenset({"pickle"}), seals=seals)


def signing_key(settings: Settings) -> bytes:
    """What signs pickled models: the setting, or HOME/signing.key, which is made at first use and readable by its owner only."""
    if settings.signing_key:
        if len(settings.signing_key) < SHORTEST_KEY:
            raise InvalidInput(f"setting signing_key has {len(settings.signing_key)} characters; give at least {SHORTEST_KEY}", setting="signing_key")
        return settings.signing_key.encode()
    return private_file(made(settings) / "signing.key", lambda: secrets.token_hex(32)).encode()


def private_cache(settings: Settings, name: str) -> PrivateFile:
    """A file of the home that a process keeps what it knows in, readable by the owner only."""
    return PrivateFile(made(settings) / f"{name}.json")


def autologging() -> Autologging:
    """What lets libraries' fits log themselves; one for a process."""
    return Autologging(AUTOLOGGERS)


def tuner(direction: Literal["minimize", "maximize"], *, seed: int) -> Tuner:
    """A new search."""
    if importlib.util.find_spec("optuna") is None:
        raise InvalidInput("tuning needs the library optuna: pip install 'rota[tune]'")
    made: Tuner = importlib.import_module("rota.backends.optuna_tuner").OptunaTuner(direction, seed=seed)
    return made


@cache
def drawing() -> Drawing | None:
    """What makes SVG of charts, where it is installed."""
    if importlib.util.find_spec("vl_convert") is None:
        return None
    found: Drawing = importlib.import_module("rota.backends.vega_drawing").VegaDrawing()
    return found


def sinks(settings: Settings) -> tuple[AlertSink, ...]:
    """Where alerts go beside the store."""
    hook = settings.alert_webhook
    return (LogSink(), WebhookSink(hook, private=settings.alert_private)) if hook else (LogSink(),)


def temporary(settings: Settings) -> Path:
    """This process's own folder below HOME/tmp."""
    return own_place(made(settings) / "tmp")


def audit_head_keepers(settings: Settings) -> tuple[Callable[[int, str, Micros], None], ...]:
    """Who is told where the audit log ends: position, hash, moment."""
    found = (audit_heads.to_file(Path(settings.audit_head_file)),) if settings.audit_head_file else ()
    return (*found, audit_heads.to_web_hook(settings.audit_head_url, private=settings.alert_private)) if settings.audit_head_url else found


def inputs() -> Inputs:
    """Files and databases of other people that sources are filled from."""
    return Inputs(FileInput(), SqlInput())


def compute() -> Compute:
    """Processes of their own for users' code."""
    return LocalProcesses()


def online(settings: Settings) -> Online:
    """The store of online features: LMDB in the home, or a server."""
    if settings.online_url:
        if importlib.util.find_spec("redis") is None:
            raise InvalidInput("online_url needs the library redis: pip install 'rota[redis]'", setting="online_url")
        opened: Online = importlib.import_module("rota.backends.online.redis_online").RedisOnline(
            settings.online_url, namespace=settings.online_namespace
        )
        return opened
    return LmdbOnline(settings.home.resolve() / "online", size_mb=settings.online_size_mb, sync=settings.sync)


def storage(settings: Settings) -> tuple[Blobs, Tables]:
    """The stores of large things: directories of the home, or a bucket."""
    if settings.storage_url:
        if importlib.util.find_spec("obstore") is None:
            raise InvalidInput("storage_url needs the library obstore: pip install 'rota[s3]'", setting="storage_url")
        blobs, tables = importlib.import_module("rota.backends.storage.s3_tables").open_storage(settings.storage_url)
        return blobs, tables
    home = settings.home.resolve()
    return BlobDirectory(home / "blobs"), DeltaTables(Directory(home / "tables", sync=settings.sync))


def backup_place(where: str) -> BackupPlace:
    """A place for backups: a directory, or a prefix of a bucket. Nothing is looked at yet."""
    if where.startswith("s3://"):
        if importlib.util.find_spec("obstore") is None:
            raise InvalidInput("a backup place in a bucket needs the library obstore: pip install 'rota[s3]'", place=where)
        place: BackupPlace = importlib.import_module("rota.backends.storage.backup_bucket").BackupBucket(where)
        return place
    if "://" in where:
        raise InvalidInput(f"{where!r} is no place for backups; give a directory, or s3://BUCKET/PREFIX", place=where)
    return BackupDirectory(Path(where))


def table_files(settings: Settings) -> TableFiles:
    """The files of the tables."""
    if settings.storage_url:
        files: TableFiles = importlib.import_module("rota.backends.storage.s3_table_files").BucketTableFiles(settings.storage_url)
        return files
    return DirectoryTableFiles(settings.home.resolve() / "tables")


def home_files(settings: Settings) -> HomeFiles:
    """The files of the home that lie in no other store."""
    return HomeDirectory(settings.home)


def metadata_snapshot(settings: Settings) -> MetadataSnapshot:
    """The metadata as they stand now."""
    return SqlSnapshot(_metadata_address(settings))


def load_metadata(settings: Settings, schema: int, parts: Iterable[tuple[str, bytes]]) -> None:
    """Make the metadata store of the parts of a snapshot."""
    load(_metadata_address(settings), schema, parts)


def has_metadata(settings: Settings) -> bool:
    """Whether there is anything where the metadata store is to be."""
    return not is_vacant(_metadata_address(settings))


def _metadata_address(settings: Settings) -> str | Path:
    return settings.metadata_url or settings.home.resolve() / "metadata.db"
