"""Model formats: the law over LightGBM and scikit-learn, and what each of them can get wrong."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from rota.backends.models.lightgbm_format import LightGBMFormat
from rota.backends.models.skops_format import SkopsFormat
from rota.errors import Corrupt, InvalidInput
from rota.testing.model_format import ModelFormatContract

Fitted = list[tuple[Any, np.ndarray, np.ndarray]]


def data(rows: int = 400, *, nulls: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matrix of three numbers and one code, a binary and a numeric target."""
    random = np.random.default_rng(7)
    matrix = random.normal(size=(rows, 4))
    matrix[:, 3] = random.integers(0, 5, rows)
    value = matrix[:, 0] * 3 + (matrix[:, 3] == 2) * 2 + random.normal(size=rows) * 0.1
    if nulls:
        matrix[random.random(matrix.shape) < 0.05] = np.nan
    return matrix, (value > 0.5).astype(int), value


def quick(kind: type, **options: Any) -> Any:
    return kind(n_estimators=15, min_child_samples=5, verbose=-1, n_jobs=1, **options)


class TestLightGBMFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> LightGBMFormat:
        return LightGBMFormat()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Fitted:
        matrix, binary, value = data()
        classifier = quick(lightgbm.LGBMClassifier).fit(matrix, binary, categorical_feature=[3])
        regressor = quick(lightgbm.LGBMRegressor).fit(matrix, value)
        options = {"objective": "binary", "verbose": -1, "num_threads": 1}
        booster = lightgbm.train(options, lightgbm.Dataset(matrix, binary), 10)
        wrong = lightgbm.Dataset(matrix[:50], 1 - binary[:50])
        early = lightgbm.early_stopping(2, verbose=False)
        stopped = lightgbm.train(options, lightgbm.Dataset(matrix, binary), 15, [wrong], callbacks=[early], keep_training_booster=True)
        assert 0 < stopped.best_iteration < stopped.current_iteration()
        three = quick(lightgbm.LGBMClassifier).fit(matrix, np.arange(len(matrix)) % 3)
        counts = quick(lightgbm.LGBMRegressor, objective="poisson").fit(matrix, binary)
        ranker = quick(lightgbm.LGBMRanker).fit(matrix, binary, group=[len(matrix) // 2] * 2)
        return [
            (three, matrix, three.predict_proba(matrix)),
            (counts, matrix, counts.predict(matrix)),
            (ranker, matrix, ranker.predict(matrix)),
            (classifier, matrix, classifier.predict_proba(matrix)[:, 1]),
            (regressor, matrix, regressor.predict(matrix)),
            (booster, matrix, booster.predict(matrix)),
            (stopped, matrix, stopped.predict(matrix)),
        ]


class TestSkopsFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> SkopsFormat:
        return SkopsFormat()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Fitted:
        matrix, binary, value = data()
        encoded = ColumnTransformer([("code", OneHotEncoder(handle_unknown="ignore"), [3])], remainder="passthrough", sparse_threshold=0)
        classifiers = [
            make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
            make_pipeline(encoded, HistGradientBoostingClassifier(max_iter=10)),
            RandomForestClassifier(5, n_jobs=2, random_state=0),
            make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=5)),
            make_pipeline(SimpleImputer(), KNeighborsClassifier()),
        ]
        regressors = [make_pipeline(SimpleImputer(), LinearRegression()), HistGradientBoostingRegressor(max_iter=10)]
        fitted: Fitted = [(model.fit(matrix, binary), matrix, model.predict_proba(matrix)[:, 1]) for model in classifiers]
        fitted += [(model.fit(matrix, value), matrix, model.predict(matrix)) for model in regressors]
        three = RandomForestClassifier(5, random_state=0).fit(matrix, np.arange(len(matrix)) % 3)
        two = make_pipeline(SimpleImputer(), LinearRegression()).fit(matrix, np.column_stack([value, -value]))
        return [*fitted, (three, matrix, three.predict_proba(matrix)), (two, matrix, two.predict(matrix))]


def test_lightgbm_refuses_classes_that_do_not_add_up_and_an_unfitted_model() -> None:
    matrix, _, _ = data()
    with pytest.raises(InvalidInput, match="do not add up to 1; train it with objective='multiclass'"):
        LightGBMFormat().dumps(quick(lightgbm.LGBMClassifier, objective="multiclassova").fit(matrix, np.arange(len(matrix)) % 3))
    with pytest.raises(InvalidInput, match="not fitted"):
        LightGBMFormat().dumps(lightgbm.LGBMRegressor())


def test_lightgbm_takes_the_numbers_of_a_pandas_category_for_what_they_are() -> None:
    matrix, binary, _ = data(nulls=False)
    for factor in (1, 10):
        frame = pd.DataFrame(matrix, columns=list("abcd"))
        frame = frame.assign(d=(frame.d.astype(int) * factor).astype("category"))
        model = quick(lightgbm.LGBMClassifier).fit(frame, binary)
        kept = LightGBMFormat().dumps(model)
        given = np.column_stack([matrix[:, :3], matrix[:, 3] * factor])
        for predictor in (LightGBMFormat().loads(kept), LightGBMFormat().loads(LightGBMFormat().imported(model.booster_.model_to_string().encode()))):
            np.testing.assert_allclose(predictor.predict(given), model.predict_proba(frame)[:, 1], atol=1e-9)
            unseen, missing = given[:1].copy(), given[:1].copy()
            unseen[0, 3], missing[0, 3] = 777, np.nan
            np.testing.assert_array_equal(predictor.predict(unseen), predictor.predict(missing))


def test_lightgbm_knows_the_texts_of_a_pandas_category_and_takes_another_for_missing() -> None:
    matrix, binary, _ = data(nulls=False)
    texts = pd.DataFrame(matrix, columns=list("abcd")).assign(d=[("e", "d", "c", "b", "a")[int(code)] for code in matrix[:, 3]])
    model = quick(lightgbm.LGBMClassifier).fit(texts.astype({"d": "category"}), binary)
    kept = LightGBMFormat().dumps(model)
    assert LightGBMFormat().describe(kept).texts == {3: ("a", "b", "c", "d", "e")}
    coded = np.column_stack([matrix[:, :3], 4 - matrix[:, 3]])
    coded[::7, 3] = 5
    asked = texts.assign(d=pd.Categorical([None if code == 5 else "abcde"[int(code)] for code in coded[:, 3]], categories=list("abcde")))
    predictor = LightGBMFormat().loads(kept)
    np.testing.assert_allclose(predictor.predict(coded), model.predict_proba(asked)[:, 1], atol=1e-12)
    np.testing.assert_allclose(predictor.predict(coded[:1]), model.predict_proba(asked)[:1, 1], atol=1e-12)


def test_lightgbm_itself_reads_our_bytes() -> None:
    matrix, _, value = data()
    model = quick(lightgbm.LGBMRegressor).fit(matrix, value)
    booster = lightgbm.Booster(model_str=LightGBMFormat().dumps(model).decode())
    np.testing.assert_array_equal(booster.predict(matrix), model.predict(matrix))


def test_lightgbm_frees_what_threads_and_models_prepared() -> None:
    matrix, binary, _ = data()
    text = LightGBMFormat().dumps(quick(lightgbm.LGBMClassifier).fit(matrix, binary))
    answers: list[float] = []
    for _ in range(20):
        predictor = LightGBMFormat().loads(text)
        threads = [threading.Thread(target=lambda model=predictor: answers.append(float(model.predict(matrix[:1])[0]))) for _ in range(4)]
        for thread in threads:
            thread.start()
        del predictor
        for thread in threads:
            thread.join()
    assert len(set(answers)) == 1
    assert len(answers) == 80


def test_serving_lightgbm_does_not_import_its_python_package() -> None:
    script = (
        "import sys; from rota.backends.models.lightgbm_format import _library; _library()\nprint('lightgbm' in sys.modules, 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


def test_skops_refuses_what_gives_no_probability_of_one_class() -> None:
    matrix, binary, _ = data(nulls=False)
    with pytest.raises(InvalidInput, match="predict_proba"):
        SkopsFormat().dumps(LinearSVC().fit(matrix, binary))
    with pytest.raises(InvalidInput, match="not fitted"):
        SkopsFormat().dumps(LogisticRegression())


def test_skops_answers_nulls_a_model_cannot_take_with_invalid_input() -> None:
    matrix, binary, _ = data(nulls=False)
    predictor = SkopsFormat().loads(SkopsFormat().dumps(LogisticRegression().fit(matrix, binary)))
    with pytest.raises(InvalidInput, match="NaN"):
        predictor.predict(np.full((1, 4), np.nan))


def test_skops_predicts_by_position_for_a_model_fitted_on_named_columns() -> None:
    matrix, binary, _ = data(nulls=False)
    frame = pd.DataFrame(matrix, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, binary)
    found = SkopsFormat().loads(SkopsFormat().dumps(model)).predict(matrix)  # a warning about names would be an error here
    np.testing.assert_allclose(found, model.predict_proba(frame)[:, 1], atol=1e-9)


def shout(matrix: np.ndarray) -> np.ndarray:
    raise AssertionError("foreign code ran")


def test_skops_names_the_foreign_code_in_a_model_and_never_loads_it() -> None:
    matrix, binary, _ = data(nulls=False)
    harmless = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(np.abs(matrix), binary)
    assert SkopsFormat().loads(SkopsFormat().dumps(harmless))
    hostile = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(matrix, binary)
    hostile.steps[0][1].func = shout
    with pytest.raises(InvalidInput, match="shout"):
        SkopsFormat().dumps(hostile)
    with pytest.raises(Corrupt, match="shout"):
        SkopsFormat().loads(skops.io.dumps(hostile))


@pytest.mark.parametrize("function", [np.testing.measure, np.load, sklearn.datasets.fetch_openml, os.system, eval], ids=lambda found: found.__name__)
def test_skops_loads_no_function_because_of_its_package(function: Callable[..., object]) -> None:
    matrix, binary, _ = data(nulls=False)
    hostile = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(matrix, binary)
    hostile.steps[0][1].func = function
    with pytest.raises(Corrupt, match=f"not loaded for safety.*{function.__name__}"):
        SkopsFormat().loads(skops.io.dumps(hostile))
