"""CatBoost: the law of model formats, categories and texts as the author gave them, and what is refused with the way out."""

import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest

catboost = pytest.importorskip("catboost")

from rota.backends.models.catboost_format import CatBoostFormat  # noqa: E402
from rota.backends.models.envelope import wrapped  # noqa: E402
from rota.errors import Corrupt, InvalidInput  # noqa: E402
from rota.ports.models import AuthorRows  # noqa: E402
from rota.testing.model_format import ModelFormatContract  # noqa: E402

QUICK = {"iterations": 8, "depth": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}


def data(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    matrix = random.normal(size=(rows, 3))
    matrix[random.random(matrix.shape) < 0.05] = np.nan
    return matrix, np.nan_to_num(matrix[:, 0]) * 2 + random.normal(size=rows) * 0.1


def frame(rows: int = 200) -> tuple[pd.DataFrame, np.ndarray]:
    """Two numbers, a category of texts, one of whole numbers, and words; which of three teams is asked."""
    random = np.random.default_rng(4)
    kinds, floors = random.choice(["hut", "flat", "house"], rows), random.integers(0, 4, rows)
    words = np.where(random.random(rows) < 0.5, "a broken pipe again", "the light is out")
    teams = np.array(["roof", "water", "light"])[np.where(kinds == "hut", 0, np.where(words == "a broken pipe again", 1, 2))]
    return pd.DataFrame({"size": random.normal(size=rows), "kind": kinds, "floor": floors, "words": words, "age": random.normal(size=rows)}), teams


class TestCatBoostFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> CatBoostFormat:
        return CatBoostFormat()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> list[tuple[Any, np.ndarray, np.ndarray]]:
        matrix, value = data()
        two = catboost.CatBoostClassifier(**QUICK).fit(matrix, value > 0)
        three = catboost.CatBoostClassifier(**QUICK).fit(matrix, np.digitize(value, [-1, 1]))
        number = catboost.CatBoostRegressor(**QUICK).fit(matrix, value)
        counts = catboost.CatBoostRegressor(**QUICK, loss_function="Poisson").fit(matrix, np.digitize(value, [-1, 1]))
        levels = catboost.CatBoostRegressor(**QUICK, loss_function="MultiQuantile:alpha=0.1,0.9").fit(matrix, value)
        targets = catboost.CatBoostRegressor(**QUICK, loss_function="MultiRMSE").fit(matrix, np.column_stack([value, -value]))
        ranker = catboost.CatBoostRanker(**QUICK).fit(matrix, np.digitize(value, [-1, 1]), group_id=np.arange(200) // 8)
        found = [(two, matrix, two.predict_proba(matrix)[:, 1]), (three, matrix, three.predict_proba(matrix))]
        return found + [(model, matrix, model.predict(matrix)) for model in (number, counts, levels, targets, ranker)]


@pytest.mark.parametrize(
    ("loss", "problem", "outputs"),
    [
        ("RMSE", "regression", ()),
        ("Poisson", "count", ()),
        ("Tweedie:variance_power=1.5", "positive", ()),
        ("MultiQuantile:alpha=0.1,0.9", "quantiles", ("0.1", "0.9")),
        ("Quantile:alpha=0.3", "regression", ()),
    ],
)
@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_a_loss_says_the_problem_and_its_answers_are_those_of_the_author(loss: str, problem: str, outputs: tuple[str, ...], policy: str) -> None:
    matrix, value = data()
    if policy == "Lossguide" and loss.startswith("Multi"):
        pytest.skip("CatBoost does not train it")
    model = catboost.CatBoostRegressor(**QUICK, loss_function=loss, grow_policy=policy).fit(matrix, np.abs(value))
    kept = CatBoostFormat().dumps(model)
    inputs = CatBoostFormat().describe(kept)
    assert (inputs.problem, inputs.outputs, inputs.width, inputs.names) == (problem, outputs, 3, ())
    np.testing.assert_array_equal(CatBoostFormat().loads(kept).predict(matrix), model.predict(matrix))


def test_categories_and_texts_are_given_as_they_are_and_an_unknown_one_as_the_author_has_it() -> None:
    rows, teams = frame()
    model = catboost.CatBoostClassifier(**QUICK, cat_features=["kind", "floor"], text_features=["words"]).fit(rows, teams)
    kept = CatBoostFormat().dumps(model)
    inputs = CatBoostFormat().describe(kept)
    assert (inputs.names, sorted(inputs.free_texts), inputs.outputs) == (tuple(rows.columns), [1, 2, 3], ("light", "roof", "water"))
    asked = rows.head(20).copy()
    asked.loc[0, ["kind", "words"]] = ["castle", "never heard"]
    asked.loc[1, "size"] = np.nan
    matrix = asked.astype(object).to_numpy()
    matrix[:, 2] = matrix[:, 2].astype(float)  # numbers reach a model as floats
    expected = model.predict_proba(asked)
    np.testing.assert_array_equal(CatBoostFormat().loads(kept).predict(matrix), expected)
    cells = AuthorRows(inputs.names, ("float", "string", "float", "string", "float"), asked.replace({np.nan: None}).to_numpy().tolist())
    np.testing.assert_array_equal(CatBoostFormat().author(model).answers(cells), expected)
    for place, wrong, told in ((1, None, "'kind' .* was given null; give a null a text of its own"), (2, 1.5, "'floor' .* was given 1.5")):
        broken = matrix.copy()
        broken[3, place] = wrong
        with pytest.raises(InvalidInput, match=told):
            CatBoostFormat().loads(kept).predict(broken)


def test_classes_that_have_names_keep_them() -> None:
    matrix, value = data()
    named = catboost.CatBoostClassifier(**QUICK).fit(matrix, np.where(value > 0, "yes", "no"))
    assert CatBoostFormat().describe(CatBoostFormat().dumps(named)).classes == ("no", "yes")
    plain = catboost.CatBoostClassifier(**QUICK).fit(matrix, (value > 0).astype(int))
    assert CatBoostFormat().describe(CatBoostFormat().dumps(plain)).classes == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss_function": "MultiClassOneVsAll"}, "do not add up to 1; train it with loss_function='MultiClass'"),
    ],
)
def test_what_is_not_served_is_refused_with_the_way_out(options: dict[str, Any], told: str) -> None:
    matrix, value = data()
    model = catboost.CatBoostClassifier(**QUICK, **options).fit(matrix, np.digitize(value, [-1, 1]))
    with pytest.raises(InvalidInput, match=told):
        CatBoostFormat().dumps(model)


def test_an_unfitted_model_and_files_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not fitted"):
        CatBoostFormat().dumps(catboost.CatBoostClassifier(**QUICK))
    matrix, value = data()
    model = catboost.CatBoostRegressor(**QUICK).fit(matrix, value)
    with pytest.raises(InvalidInput, match=r"a \.cbm file is not read, .* rota\.register_model\(name, model="):
        CatBoostFormat().imported(CatBoostFormat().kept(model))
    assert CatBoostFormat().imported(CatBoostFormat().dumps(model)) == CatBoostFormat().dumps(model)
    for file in (b"CBM1", b"CBM1" + struct.pack("<I", 10**9) + b"\0" * 100, b"{}", b"CBM1\x10\0\0\0" + b"\xff" * 16):
        with pytest.raises(InvalidInput, match="no CatBoost model that can be served"):
            CatBoostFormat().imported(wrapped("rota-catboost", file))
        with pytest.raises(Corrupt):
            CatBoostFormat().loads(wrapped("rota-catboost", file))
