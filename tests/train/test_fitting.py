"""The user's step: called with a matrix, kept by the first format that accepts the model, clear when none does."""

import numpy as np
import pytest

from rota.errors import InvalidInput
from rota.train import fitting


class TextFormat:
    """Keeps texts."""

    name = "text"

    def accepts(self, model):
        return isinstance(model, str)

    def dumps(self, model):
        return model.encode()

    def libraries(self):
        return {"text": "1"}


def train(data, shout=False):
    text = f"{data.train.x.shape} {int(data.train.y.sum())} {data.columns} {data.categorical}"
    return text.upper() if shout else text


def train_a_number(data):
    return 3.0


def train_badly(data):
    raise ZeroDivisionError("no rows of this kind")


@pytest.fixture
def fit(tmp_path):
    x = np.array([[1.0, np.nan], [2.0, 0.0], [3.0, 1.0]])
    fitting.save(tmp_path, fitting.TrainingData(fitting.Rows(x, np.array([0.0, 1.0, 1.0])), ("a", "b"), (1,)))

    def call(function, **parameters):
        arguments = {"train": fitting.reference(function), "folder": str(tmp_path), "out": str(tmp_path / "model"), "parameters": parameters}
        return fitting.fit(arguments, {"text": TextFormat()}), tmp_path / "model"

    return call


def test_the_function_gets_what_was_saved_and_its_model_is_kept(fit):
    made, model = fit(train)
    assert made == {"format": "text", "libraries": {"text": "1"}}
    assert model.read_text() == "(3, 2) 2 ('a', 'b') (1,)"


def test_parameters_are_passed_by_name(fit):
    assert "('A', 'B')" in fit(train, shout=True)[1].read_text()


def test_a_model_that_no_format_keeps_is_named_with_the_formats_there_are(fit):
    with pytest.raises(InvalidInput, match=r"train_a_number' returned a builtins\.float, which none of the installed formats \['text'\] can keep"):
        fit(train_a_number)


def test_what_user_code_raises_is_not_hidden(fit):
    with pytest.raises(ZeroDivisionError, match="no rows of this kind"):
        fit(train_badly)


def test_a_step_stands_at_the_top_level_of_its_module():
    assert fitting.step(train) is train
    with pytest.raises(InvalidInput, match="top level"):
        fitting.step(lambda data: data)
