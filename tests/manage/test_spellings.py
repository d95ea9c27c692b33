"""Names that read alike: a new one is refused wherever it comes in, two of an older store work on."""

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.develop import tracking as tracked
from rota.errors import Conflict, InvalidInput
from rota.manage import spellings
from rota.manage.access import tokens
from rota.manage.datasets import schemas
from rota.manage.features.definitions import registration
from rota.manage.governance import policies
from rota.manage.models import endpoints, registered_models
from rota.operationalize import project as projects
from rota.operationalize import release as releases
from rota.ports.metadata import Batch
from rota.records.access import AccessToken
from rota.records.data import Source
from rota.records.kinds import KINDS
from rota.records.model import RegisteredModel, ReleasePolicy
from rota.records.record import check_person, folded
from rota.records.release import Endpoint
from rota.records.schema import Schema
from rota.records.tracking import Experiment

FIELDS = {"shop": "string", "at": "timestamp", "amount": "float"}
PROJECT = """
import rota

sales = rota.Source("sales", {"shop": "string", "at": "timestamp", "amount": "float"}, timestamp_field="at")
sold = rota.FeatureView("sold", [rota.Entity("shop", ["shop"])], sales, {"amount": rota.mean("amount", window="3h")})
service = rota.FeatureService("asked", [sold])

@rota.step
def train(data):
    return data

definition = rota.DatasetDefinition(service, sales, rota.sql("amount > 15"), "at")
dataset = rota.Dataset("kept", definition)
pipeline = rota.TrainingPipeline("late", train=train, dataset=definition)
purpose = rota.UseCase("purpose", "tell", "money", "roc_auc")
endpoint = rota.Endpoint("live", model="late")
"""


@pytest.fixture
def metadata():
    return MemoryMetadata()


def source(name):
    return Source(name, FIELDS, timestamp_field="at")


def applied(metadata, folder, text=PROJECT, environment="prod"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "project.py").write_text(text)
    loaded = projects.load(folder / "project.py")
    release = releases.build(MemoryBlobs(), folder / "project.py", now_us=1)
    return projects.apply(metadata, loaded, release, environment=environment, actor="anna", now_us=1)


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ('Source("sales"', 'Source("Sales"', "a source 'sales'"),
        ('FeatureView("sold"', 'FeatureView("SOLD"', "a feature view 'sold'"),
        ('FeatureService("asked"', 'FeatureService("Asked"', "a feature service 'asked'"),
        ('Dataset("kept"', 'Dataset("kepT"', "a dataset 'kept'"),
        ('TrainingPipeline("late"', 'TrainingPipeline("Late"', "a pipeline 'late'"),
        ('UseCase("purpose"', 'UseCase("Purpose"', "a use case 'purpose'"),
        ('Endpoint("live"', 'Endpoint("LIVE"', "an endpoint 'live'"),
    ],
)
def test_a_project_adds_no_name_that_reads_like_a_known_one(metadata, tmp_path, was, becomes, what):
    applied(metadata, tmp_path / "one")
    before = metadata.audit()
    with pytest.raises(Conflict, match=f"there is {what} already"):
        applied(metadata, tmp_path / "one", PROJECT.replace(was, becomes))
    assert metadata.audit() == before
    applied(metadata, tmp_path / "one")


def test_a_project_file_that_declares_two_names_that_read_alike_is_refused(metadata, tmp_path):
    with pytest.raises(Conflict, match="an endpoint 'live' already"):
        applied(metadata, tmp_path / "one", PROJECT + 'other = rota.Endpoint("Live", model="late")\n')


def test_projects_and_environments_are_compared(metadata, tmp_path):
    applied(metadata, tmp_path / "one")
    with pytest.raises(Conflict, match="a project 'one' already"):
        applied(metadata, tmp_path / "x" / "One")
    with pytest.raises(Conflict, match="an environment 'prod' already"):
        applied(metadata, tmp_path / "one", environment="Prod")
    with pytest.raises(Conflict, match="a project 'one' already"):
        registered_models.create(metadata, RegisteredModel("m", project="ONE"), actor="a", now_us=1)
    for limit, name in {"project": "One", "environment": "PROD"}.items():
        with pytest.raises(Conflict, match=f"write '{name.lower()}'"):
            tokens.create(metadata, "ana", "reviewer", actor="owner", now_us=1, **{limit: name})


def test_features_that_are_registered_one_by_one_are_compared(metadata):
    tables = MemoryTables()
    registration.register(metadata, tables, [source("sales")])
    with pytest.raises(Conflict, match="a source 'sales' already"):
        registration.register(metadata, tables, [source("SALES")])
    with pytest.raises(Conflict, match="a source 'sales' already"):
        registration.check(metadata, tables, [source("SALES")])
    with pytest.raises(Conflict, match="a source 'shops' already"):
        registration.register(metadata, tables, [source("shops"), source("Shops")])
    assert {each.name for each in metadata.find(Source)} == {"sales"}


def test_models_policies_endpoints_schemas_and_pipelines_are_compared(metadata, tmp_path):
    applied(metadata, tmp_path / "one")
    policies.put(metadata, ReleasePolicy("strict", "manual"), actor="r", now_us=1)
    with pytest.raises(Conflict, match="'strict' already"):
        registered_models.create(metadata, RegisteredModel("Strict"), actor="a", now_us=1)
    with pytest.raises(Conflict, match="'strict' already"):
        applied(metadata, tmp_path / "one", PROJECT.replace('"late"', '"STRICT"'))
    registered_models.create(metadata, RegisteredModel("foreign"), actor="a", now_us=1)
    with pytest.raises(Conflict, match="an endpoint 'live' already"):
        endpoints.create(metadata, Endpoint("Live", model="foreign"), actor="a", now_us=1)
    schemas.create(metadata, Schema("late", 0, ()), author="a", now_us=1)
    with pytest.raises(Conflict, match="a schema 'late' already"):
        schemas.create(metadata, Schema("Late", 0, ()), author="a", now_us=1)


@pytest.mark.parametrize("name", ["TREES", "\uff34rees", "trees"])
def test_experiments_are_compared_in_width_and_composition_too(metadata, name):
    tracking = MemoryTracking(metadata)
    tracking.create_experiment(Experiment("e1", "Trees", deleted_us=3))
    with pytest.raises(Conflict, match="an experiment 'Trees' already"):
        tracked.experiment_named(tracking, name, 1)
    assert tracked.experiment_named(tracking, "bushes", 1)


def test_two_names_of_an_older_store_work_on_and_are_found(metadata, tmp_path):
    batch = Batch()
    for name in ("sales", "SALES"):
        batch.put(source(name))
    for number, holder in enumerate(("ana", "Ana")):
        batch.put(AccessToken(f"t{number}", holder, "reviewer", f"h{number}", 1, "owner"))
    metadata.commit(batch)
    tracking = MemoryTracking(metadata)
    for number, name in enumerate(("trees", "Trees")):
        tracking.create_experiment(Experiment(f"e{number}", name))
    for name in ("sales", "SALES"):
        registration.register(metadata, MemoryTables(), [source(name)])
    applied(metadata, tmp_path / "one")
    tokens.create(metadata, "Ana", "reviewer", actor="owner", now_us=1)
    assert tracked.experiment_named(tracking, "Trees", 1) == "e1"
    with pytest.raises(Conflict):
        registration.register(metadata, MemoryTables(), [source("Sales")])
    assert sorted(spellings.alike(metadata, tracking)) == [
        ("a holder of tokens", ["Ana", "ana"]),
        ("a source", ["SALES", "sales"]),
        ("an experiment", ["Trees", "trees"]),
    ]


def test_every_definition_that_a_project_declares_is_compared():
    compared = {kind.__name__ for kind in spellings.OF_RECORD}
    assert {kind.__name__ for kind in projects.DECLARABLE} - compared == {"Monitor"}, "it goes by its endpoint's name"
    assert {kind for space in spellings.SPACES for kind, _ in space.held} <= {kind.record for kind in KINDS}


def test_the_name_of_a_person_holds_nothing_that_nobody_sees():
    assert check_person("an owner", "\uff21\uff4e\uff41 Mu\u0308ller") == "Ana Müller"
    for unseen in ("an\u200ba", "ana\u202e", "\u2066ana", "ana\ufeff", "a\nb", "ana\u00ad", "\ud800"):
        with pytest.raises(InvalidInput, match=r"U\+"):
            check_person("an owner", unseen)


def test_owners_are_stored_as_they_are_compared(metadata):
    created = registered_models.create(metadata, RegisteredModel("m", owner="\uff21\uff4e\uff41"), actor="a", now_us=1)
    assert created.owner == "Ana"
    for owner in ("an\u200ba", "\u202eana"):
        with pytest.raises(InvalidInput, match="an owner"):
            registered_models.update(metadata, "m", actor="a", now_us=2, owner=owner)
        with pytest.raises(InvalidInput, match="an owner"):
            registered_models.create(metadata, RegisteredModel("n", owner=owner), actor="a", now_us=1)


def test_folding_is_stable():
    for name in ("STRASSE", "straße", "\ufb01n", "\u0130", "\u01c5", "\u212b"):
        assert folded(folded(name)) == folded(name)
