"""Every kind of model goes the whole way: trained by a pipeline, gated, registered, served, labelled, monitored, alerted on and retrained.

The data are tables that scikit-learn ships; each has one row a prediction, drawn with replacement day by day.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from rota.manage.governance import decisions
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import pickle_signing
from rota.records.model import ModelBundle
from rota.records.record import decode
from rota.records.run import RunQuery
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, HOUR_US

ROWS_A_DAY = 40
DAYS = 46
"""Labelled days before a performance alarm can be raised, and some."""
PROJECT = """
import rota
import numpy as np
{imports}

rows = rota.Source(
    "rows",
    fields={{"id": "string", "asked_at": "timestamp", "known_at": "timestamp", {fields}, {labels}}},
    timestamp_field="known_at",
    id_field="id",
)
request = rota.OnDemandFeatureView("request", inputs={{{fields}}}, features={{{features}}})
features = rota.FeatureService("kind", [request])


@rota.step
def train(data: rota.TrainingData):
{train}


pipeline = rota.TrainingPipeline(
    "kind",
    train=train,
    problem="{problem}",
    dataset=rota.DatasetDefinition(features, labels=rows, label={label}, timestamp="asked_at", window="20d", split=rota.TimeSplit(test="4d")),
    gates=[{gates}],
    {more}
)
policy = rota.ReleasePolicy("kind", "automatic")
endpoint = rota.Endpoint("kind", model="kind", rollout=rota.Canary(shadow="2d", steps=[50], hold="1d", analysis=[rota.error_rate(margin=0.2)]))
monitor = rota.Monitor(endpoint, schedule="0 1 * * *", expected_days_between_false_alarms=30)
"""


@dataclass(frozen=True)
class Kind:
    """One kind of model on one table: how it is trained and gated, and how its rule is flipped."""

    problem: str
    table: Callable[[], tuple[np.ndarray, list[Any]]]
    imports: str
    train: str
    gates: str
    label: str = 'rota.sql("label")'
    label_fields: str = '"label": "float"'
    flipped: Callable[[Any], Any] = lambda label: label
    labels_of: Callable[[Any], dict[str, Any]] = lambda label: {"label": label}
    texts: tuple[int, ...] = ()
    """The columns of the table that are texts."""
    is_labelled: bool = True
    """Whether truths ever come. Where none do, a flipped rule is one that made the rows what they are: they lie elsewhere then."""
    is_pickled: bool = False
    needs: str = ""
    """The library without which the kind is left out."""
    rows_a_group: int = 0
    """Rows of one search, which are ranked together; 0: rows stand alone."""


def wine() -> tuple[np.ndarray, list[Any]]:
    found = datasets.load_wine()
    return found.data[:, :6], [str(found.target_names[each]) for each in found.target]


def cancer() -> tuple[np.ndarray, list[Any]]:
    found = datasets.load_breast_cancer()
    return found.data[:, :6], [float(each) for each in found.target]


def tumours() -> tuple[np.ndarray, list[Any]]:
    """Malignant ones are what is unusual."""
    x, benign = cancer()
    return x, [1.0 - each for each in benign]


def parcels() -> tuple[np.ndarray, list[Any]]:
    """Wines by how dark they are, a text, and two numbers."""
    found = datasets.load_wine()
    dark = np.array(["pale", "middle", "dark"])[np.digitize(found.data[:, 9], [3.5, 5.5])]
    cells = np.empty((len(dark), 3), dtype=object)
    cells[:] = [list(row) for row in zip(dark.tolist(), found.data[:, 0].tolist(), found.data[:, 6].tolist(), strict=True)]
    return cells, wine()[1]


def bodies() -> tuple[np.ndarray, list[Any]]:
    """Exercises and what three measures of a body are: twenty rows, as scikit-learn ships them."""
    found = datasets.load_linnerud()
    return found.data, [dict(zip(("weight", "waist", "pulse"), row, strict=True)) for row in found.target.tolist()]


def grades() -> tuple[np.ndarray, list[Any]]:
    """How well each wine fits a search: best the first class, least the last."""
    x, names = wine()
    return x[:, [1, 4]], [{"class_0": 2.0, "class_1": 1.0, "class_2": 0.0}[name] for name in names]


def diabetes() -> tuple[np.ndarray, list[Any]]:
    found = datasets.load_diabetes()
    return found.data, [float(each) for each in found.target]


def tickets() -> tuple[np.ndarray, list[Any]]:
    """Twenty short texts, a plan that is null at times, and a number: a line with a complaint in it is one of the three teams'."""
    lines = {
        "billing": [
            "the invoice is wrong",
            "charged twice",
            "refund me please",
            "wrong amount on the invoice",
            "card was charged again",
            "no refund yet",
        ],
        "delivery": [
            "parcel never came",
            "late again",
            "where is my parcel",
            "driver left it outside",
            "the box came late",
            "not delivered",
            "lost parcel",
        ],
        "product": ["it does not start", "screen is broken", "battery is dead", "broken on arrival", "stopped working", "will not start", "too loud"],
    }
    made = [(line, plan, float(len(line)), team) for team, each in lines.items() for line in each for plan in ("basic", "gold", None)]
    cells = np.empty((len(made), 3), dtype=object)
    cells[:] = [row[:3] for row in made]
    return cells, [row[3] for row in made]


DRAWN = np.random.default_rng(11)
NEXT_TEAM = {"billing": "delivery", "delivery": "product", "product": "billing"}
NEXT_CLASS = {"class_0": "class_1", "class_1": "class_2", "class_2": "class_0"}
KINDS = {
    "logistic regression": Kind(
        "classification",
        cancer,
        "from sklearn import linear_model, pipeline as steps, preprocessing",
        "steps.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())",
        'rota.at_least("roc_auc", 0.9)',
        flipped=lambda label: 1.0 - label,
    ),
    "random forest of three classes": Kind(
        "multiclass",
        wine,
        "from sklearn.ensemble import RandomForestClassifier",
        "RandomForestClassifier(20, random_state=0)",
        'rota.at_least("balanced_accuracy", 0.9), rota.at_most("log_loss", 0.5)',
        label_fields='"label": "string"',
        flipped=NEXT_CLASS.__getitem__,
    ),
    "ridge": Kind(
        "regression",
        diabetes,
        "from sklearn.linear_model import Ridge",
        "Ridge(0.1)",
        'rota.at_least("r2", 0.3)',
        flipped=lambda label: 350.0 - label,
    ),
    "words and categories of a frame": Kind(
        "multiclass",
        tickets,
        "from sklearn.compose import ColumnTransformer\n"
        "from sklearn.feature_extraction.text import TfidfVectorizer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import OneHotEncoder, StandardScaler",
        "words, plan, size = (f'request__x{place}' for place in range(3))\n"
        "steps = [('w', TfidfVectorizer(), words), ('p', OneHotEncoder(handle_unknown='ignore'), [plan]), ('s', StandardScaler(), [size])]\n"
        "return make_pipeline(ColumnTransformer(steps), LogisticRegression(C=10.0)).fit(data.train.to_pandas(), data.train.y)",
        'rota.at_least("balanced_accuracy", 0.9)',
        label_fields='"label": "string"',
        flipped=NEXT_TEAM.__getitem__,
        texts=(0, 1),
    ),
    "LightGBM of three classes": Kind(
        "multiclass",
        wine,
        "import lightgbm",
        "lightgbm.LGBMClassifier(n_estimators=20, min_child_samples=5, verbose=-1, n_jobs=1)",
        'rota.at_least("balanced_accuracy", 0.9), rota.at_most("log_loss", 0.6)',
        label_fields='"label": "string"',
        flipped=NEXT_CLASS.__getitem__,
    ),
    "neighbours": Kind(
        "multiclass",
        wine,
        "from sklearn import neighbors, pipeline as steps, preprocessing",
        "steps.make_pipeline(preprocessing.StandardScaler(), neighbors.KNeighborsClassifier(15))",
        'rota.at_least("balanced_accuracy", 0.9)',
        label_fields='"label": "string"',
        flipped=NEXT_CLASS.__getitem__,
    ),
    "calibrated machine": Kind(
        "classification",
        cancer,
        "from sklearn import calibration, pipeline as steps, preprocessing, svm",
        "calibration.CalibratedClassifierCV(steps.make_pipeline(preprocessing.StandardScaler(), svm.SVC()), cv=3)",
        'rota.at_least("roc_auc", 0.9)',
        flipped=lambda label: 1.0 - label,
    ),
    "XGBoost": Kind(
        "classification",
        cancer,
        "import xgboost",
        "xgboost.XGBClassifier(n_estimators=20, max_depth=2, n_jobs=1)",
        'rota.at_least("roc_auc", 0.9)',
        flipped=lambda label: 1.0 - label,
    ),
    "Poisson boosting": Kind(
        "count",
        diabetes,
        "from sklearn.ensemble import HistGradientBoostingRegressor",
        'HistGradientBoostingRegressor(loss="poisson", max_iter=30)',
        'rota.at_most("mae", 60)',
        flipped=lambda label: 350.0 - label,
    ),
    "quantile boosting": Kind(
        "regression",
        diabetes,
        "from sklearn.ensemble import HistGradientBoostingRegressor",
        'HistGradientBoostingRegressor(loss="quantile", quantile=0.5, max_iter=30)',
        'rota.at_least("r2", 0.2)',
        flipped=lambda label: 350.0 - label,
    ),
    "labels": Kind(
        "multilabel",
        lambda: (wine()[0], [{"first": float(name == "class_0"), "second": float(name == "class_1")} for name in wine()[1]]),
        "from sklearn.ensemble import RandomForestClassifier",
        "RandomForestClassifier(20, random_state=0)",
        'rota.at_least("f1_micro", 0.9)',
        label='{"first": rota.sql("first"), "second": rota.sql("second")}',
        label_fields='"first": "float", "second": "float"',
        flipped=lambda label: {name: 1.0 - each for name, each in label.items()},
        labels_of=dict,
    ),
    "LightGBM that ranks": Kind(
        "ranking",
        grades,
        "import lightgbm",
        "model = lightgbm.LGBMRanker(n_estimators=20, min_child_samples=5, verbose=-1, n_jobs=1)\n"
        "return model.fit(data.train.x, data.train.y, group=data.train.group_sizes)",
        'rota.at_least("ndcg", 0.8)',
        flipped=lambda label: 2.0 - label,
        rows_a_group=8,
    ),
    "isolation forest": Kind(
        "anomaly",
        tumours,
        "from sklearn.ensemble import IsolationForest",
        "model = IsolationForest(n_estimators=50, random_state=0)\nreturn model.fit(data.train.x[data.train.y != 1])",
        'rota.at_least("roc_auc", 0.8)',
        flipped=lambda label: 1.0 - label,
    ),
    "clusters": Kind(
        "clustering",
        lambda: (datasets.load_wine().data[:, [0, 6, 9, 12]], wine()[1]),
        "from sklearn import cluster, pipeline as steps, preprocessing",
        "steps.make_pipeline(preprocessing.StandardScaler(), cluster.KMeans(3, n_init=5, random_state=0))",
        'rota.at_least("adjusted_rand", 0.2)',
        label_fields='"label": "string"',
        flipped=lambda label: "class_1" if label == "class_0" and DRAWN.random() < 0.5 else label,  # no other clusters would be found
    ),
    "ONNX of words and numbers": Kind(
        "multiclass",
        parcels,
        "from skl2onnx import to_onnx\n"
        "from skl2onnx.common.data_types import FloatTensorType, StringTensorType\n"
        "from sklearn.compose import make_column_transformer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import OneHotEncoder, StandardScaler",
        "rows = data.train.to_pandas()\n"
        "kinds = {name: StringTensorType([None, 1]) if rows[name].dtype == object else FloatTensorType([None, 1]) for name in rows}\n"
        "words, numbers = ['request__x0'], ['request__x1', 'request__x2']\n"
        "columns = make_column_transformer((OneHotEncoder(handle_unknown='ignore'), words), (StandardScaler(), numbers))\n"
        "fitted = make_pipeline(columns, LogisticRegression(C=10.0)).fit(rows, data.train.y)\n"
        "return to_onnx(fitted, initial_types=list(kinds.items()), options={'zipmap': False}, target_opset=17)",
        'rota.at_least("balanced_accuracy", 0.6)',
        label_fields='"label": "string"',
        flipped=NEXT_CLASS.__getitem__,
        texts=(0,),
    ),
    "plain class": Kind(
        "regression",
        diabetes,
        "class Nearest:\n"
        "    def __init__(self, x, y):\n"
        "        self.x, self.y = x, y\n\n"
        "    def predict(self, matrix):\n"
        "        away = ((np.asarray(matrix, dtype=float)[:, None, :] - self.x[None]) ** 2).sum(axis=2)\n"
        "        return self.y[np.argsort(away, axis=1)[:, :15]].mean(axis=1)",
        "places = np.unique(data.train.x, axis=0, return_index=True)[1]\nreturn Nearest(data.train.x[places], data.train.y[places])",
        'rota.at_least("r2", 0.3)',
        flipped=lambda label: 350.0 - label,
        is_pickled=True,
    ),
    "several targets": Kind(
        "regression",
        bodies,
        "from sklearn.linear_model import Ridge\nfrom sklearn.multioutput import MultiOutputRegressor",
        "MultiOutputRegressor(Ridge(0.1))",
        'rota.at_most("rmse", 12)',
        label='{"weight": rota.sql("weight"), "waist": rota.sql("waist"), "pulse": rota.sql("pulse")}',
        label_fields='"weight": "float", "waist": "float", "pulse": "float"',
        flipped=lambda label: {name: 200.0 - each for name, each in label.items()},
        labels_of=dict,
    ),
    "histogram boosting": Kind(
        "classification",
        cancer,
        "from sklearn.ensemble import HistGradientBoostingClassifier",
        "HistGradientBoostingClassifier(max_iter=20)",
        'rota.at_least("roc_auc", 0.9)',
        flipped=lambda label: 1.0 - label,
    ),
    "CatBoost with categories": Kind(
        "multiclass",
        parcels,
        "from catboost import CatBoostClassifier",
        "model = CatBoostClassifier(iterations=20, depth=3, verbose=0, thread_count=1, allow_writing_files=False, cat_features=['request__x0'])\n"
        "return model.fit(data.train.to_pandas(), data.train.y)",
        'rota.at_least("balanced_accuracy", 0.7)',
        label_fields='"label": "string"',
        flipped=NEXT_CLASS.__getitem__,
        texts=(0,),
        needs="catboost",
    ),
    "PyTorch of three classes": Kind(
        "multiclass",
        lambda: (((x := datasets.load_wine().data[:, [0, 6, 9]]) - x.mean(axis=0)) / x.std(axis=0), wine()[1]),
        "import torch",
        "torch.manual_seed(0)\n"
        "names, codes = np.unique(data.train.y, return_inverse=True)\n"
        "net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))\n"
        "steps = torch.optim.Adam(net.parameters(), 0.02)\n"
        "for _ in range(150):\n"
        "    steps.zero_grad()\n"
        "    torch.nn.functional.cross_entropy(net(data.train.to_torch()), torch.from_numpy(codes)).backward()\n"
        "    steps.step()\n"
        "made = torch.nn.Sequential(net, torch.nn.Softmax(dim=1))\n"
        "made.output_names = tuple(names)\n"
        "return made",
        'rota.at_least("balanced_accuracy", 0.9)',
        label_fields='"label": "string"',
        flipped=NEXT_CLASS.__getitem__,
        needs="torch",
    ),
    "XGBoost that ranks": Kind(
        "ranking",
        grades,
        "import xgboost",
        "model = xgboost.XGBRanker(n_estimators=20, max_depth=3, n_jobs=1)\n"
        "return model.fit(data.train.x, data.train.y, group=data.train.group_sizes)",
        'rota.at_least("ndcg", 0.8)',
        flipped=lambda label: 2.0 - label,
        rows_a_group=8,
    ),
}


@dataclass
class Traffic:
    """The world of the loop's tests with one kind of model in it: history, then days of questions and truths."""

    world: Any
    kind: Kind
    day: int = 0
    flipped: bool = False
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self) -> None:
        self.x, self.y = self.kind.table()
        self.names = [f"x{place}" for place in range(self.x.shape[1])]

    def rows(self, number: int, when: str) -> Iterator[tuple[dict[str, Any], Any]]:
        for asked, place in enumerate(self.random.integers(0, len(self.y), number)):
            label = self.y[place]
            group = {"search": f"{when}.{asked // self.kind.rows_a_group}"} if self.kind.rows_a_group else {}
            x = self.x[place] * 1.5 if self.flipped and not self.kind.is_labelled else self.x[place]
            yield dict(zip(self.names, x.tolist(), strict=True)) | group, self.kind.flipped(label) if self.flipped else label

    def history(self, days: int) -> None:
        begin = self.world.clock.now_us()
        for day in range(days):
            asked = begin + day * DAY_US
            made = [
                {"id": f"h{day}.{i}", "asked_at": asked + i, "known_at": asked + HOUR_US, **row, **self.kind.labels_of(label)}
                for i, (row, label) in enumerate(self.rows(ROWS_A_DAY, f"h{day}"))
            ]
            self.world.clock.advance(begin + (day + 1) * DAY_US)
            self.world.platform.features.push("rows", made)

    def live(self) -> list[Any]:
        """A day: questions, truths the same evening, the monitor after midnight."""
        start = self.world.clock.now_us() // DAY_US * DAY_US
        self.world.clock.advance(start + 12 * HOUR_US)
        asked = list(self.rows(ROWS_A_DAY, f"d{self.day}"))
        names = [f"d{self.day}.{i}" for i in range(ROWS_A_DAY)]
        found = self.world.core.predict("kind", [row for row, _ in asked], names).predictions
        now = self.world.clock.now_us()
        made = [
            {"id": name, "asked_at": now, "known_at": now + HOUR_US, **row, **self.kind.labels_of(label)}
            for name, (row, label) in zip(names, asked, strict=True)
        ]
        self.world.clock.advance(now + HOUR_US)
        self.world.platform.features.push("rows", made)
        if self.kind.is_labelled:
            self.world.platform.signals.label("kind", [{"prediction_id": n, "value": label} for n, (_, label) in zip(names, asked, strict=True)])
        self.day += 1
        self.world.clock.advance(start + DAY_US + 90 * 60_000_000)
        self.world.settle()
        return list(found)

    def train(self) -> Any:
        run_id = self.world.platform.pipelines.start("kind")
        self.world.settle()
        return self.world.platform.repositories.runs.get(run_id)

    def slices(self) -> list[MonitorSlice]:
        return self.world.metadata.find(MonitorSlice, {"endpoint": "kind"}, order="start_us")


def project(kind: Kind, columns: int) -> str:
    fields = ", ".join(f'"x{place}": "{"string" if place in kind.texts else "float"}"' for place in range(columns))
    features = ", ".join(f'"x{place}": rota.sql("x{place}")' for place in range(columns))
    body = kind.train if "return " in kind.train else f"model = {kind.train}\nreturn model.fit(data.train.x, data.train.y)"
    labels, more = (kind.label_fields + ', "search": "string"', 'group="search",') if kind.rows_a_group else (kind.label_fields, "")
    return PROJECT.format(
        imports=kind.imports, fields=fields, features=features, labels=labels, label=kind.label, problem=kind.problem, gates=kind.gates, more=more,
        train="\n".join(f"    {line}" for line in body.splitlines()),
    )  # fmt: skip


QUICK = ("logistic regression", "random forest of three classes", "ridge", "words and categories of a frame", "LightGBM of three classes")
"""Kinds of the default tier; each takes seconds."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in KINDS])
def test_a_kind_of_model_goes_the_whole_way(world: Any, tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    if kind.needs:
        pytest.importorskip(kind.needs)
    if kind.is_pickled:
        pickle_signing.allow(world.metadata, "kind", actor="eve", reason="ours", now_us=world.clock.now_us())
    traffic = declared(world, tmp_path / "kinds", kind)
    run = traffic.train()
    assert run.status == "succeeded", run.error
    assert world.core.served["kind"].stable.route.number == 1
    for _ in range(DAYS):
        answers = traffic.live()
        assert not [each.error for each in answers if each.error]
    assert {alert.kind for alert in world.alerts() if alert.endpoint == "kind"} <= {"drift"}
    newest = traffic.slices()[-1]
    assert newest.labelled == ROWS_A_DAY
    assert newest.set_apart == 0
    traffic.flipped = True
    while not [a for a in world.alerts() if (a.endpoint, a.kind) == ("kind", "performance")] and traffic.day < DAYS + 10:
        traffic.live()
    (alarm,) = [a for a in world.alerts() if (a.endpoint, a.kind) == ("kind", "performance")]
    assert "errs more than its rows are hard" in alarm.message
    for _ in range(20):
        traffic.live()
    run = traffic.train()
    assert run.status == "succeeded", run.error
    assert [each.status for each in world.platform.repositories.runs.find(RunQuery("train", "kind"))] == ["succeeded", "succeeded"]
    bundle = decode(world.platform.repositories.blobs.get(world.versions()[-1].bundle), ModelBundle)
    assert bundle.problem == kind.problem


UNLABELLED = {
    "anomaly": Kind(
        "anomaly",
        tumours,
        "from sklearn.ensemble import IsolationForest",
        "return IsolationForest(n_estimators=50, random_state=0).fit(data.train.x)",
        'rota.at_least("agreement", 0.6)',
        label="None",
        label_fields='"note": "string"',
        flipped=lambda label: label,
        labels_of=lambda _: {"note": ""},
        is_labelled=False,
    ),
    "clustering": Kind(
        "clustering",
        wine,
        "from sklearn.cluster import KMeans",
        "return KMeans(3, n_init=5, random_state=0).fit(data.train.x)",
        'rota.at_least("agreement", 0.6)',
        label="None",
        label_fields='"note": "string"',
        labels_of=lambda _: {"note": ""},
        is_labelled=False,
    ),
}


def declared(world: Any, folder: Path, kind: Kind) -> Traffic:
    traffic = Traffic(world, kind)
    folder.mkdir()
    (folder / "project.py").write_text(project(kind, traffic.x.shape[1]))
    world.platform.projects.apply(folder / "project.py")
    traffic.history(20)
    return traffic


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["anomaly", "clustering"])
def test_a_model_that_nobody_labels_is_gated_by_agreement_and_watched_by_drift(world: Any, tmp_path: Path, problem: str) -> None:
    kind = UNLABELLED[problem]
    traffic = declared(world, tmp_path / "kinds", kind)
    run = traffic.train()
    assert run.status == "succeeded", run.error
    assert world.versions()[0].status == "registered"  # no gate could judge it, so it is no policy's to approve
    decisions.decide(world.platform.repositories, "kind", 1, ReviewDecision("approve", "ana", "looked at its answers"))
    world.settle()
    for _ in range(DAYS):
        answers = traffic.live()
        assert not [each.error for each in answers if each.error]
    assert not [alert for alert in world.alerts() if alert.endpoint == "kind"]
    run = traffic.train()
    assert run.status == "succeeded", run.error
    assert world.versions()[1].metrics["agreement"] > 0.8
    assert world.versions()[1].status == "approved"
    traffic.flipped = True
    while not (found := [a for a in world.alerts() if a.endpoint == "kind"]) and traffic.day < DAYS + 20:
        traffic.live()
    assert {alert.kind for alert in found} <= {"drift", "distribution_skew"}


def test_a_gate_that_asks_for_labels_judges_nothing_where_there_are_none(world: Any, tmp_path: Path) -> None:
    traffic = declared(world, tmp_path / "kinds", replace(UNLABELLED["clustering"], gates='rota.at_least("adjusted_rand", 0.2)'))
    run = traffic.train()
    assert (run.status, world.versions()) == ("blocked", [])
    assert "adjusted_rand is not defined on these test rows" in run.error


REFUSED = {
    "machine without probabilities": ("from sklearn.svm import SVC", "SVC()", "or wrap it in CalibratedClassifierCV"),
    "transformer": ("from sklearn.preprocessing import StandardScaler", "StandardScaler()", "a fitted object with predict or predict_proba"),
    "own class": ("class Mine:\n    fit = lambda self, x, y: self\n    predict = lambda self, x: x[:, 0]", "Mine()", "rota models allow-pickle"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_ends_its_training_with_the_way_out(world: Any, tmp_path: Path, name: str) -> None:
    imports, model, told = REFUSED[name]
    traffic = declared(world, tmp_path / "kinds", replace(KINDS["random forest of three classes"], imports=imports, train=model))
    run = traffic.train()
    assert (run.status, world.versions()) == ("failed", [])
    assert told in run.error
