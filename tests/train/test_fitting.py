"""The user's step: called with a matrix, kept by the first format that accepts the model, clear when none does."""

import numpy as np
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.models import transformation
from rota.ports.models import ModelInputs
from rota.train import fitting, handoff
from rota.train.training_data import Rows, TrainingData


class Length:
    """A text as a model: the oracle and the predictor answer its length, or what they are told to."""

    inputs = ModelInputs(2)

    def __init__(self, text, more=0.0):
        self.length = len(text) + more

    def answers(self, rows):
        return np.full(len(rows.cells), float(self.length))

    def predict(self, matrix):
        return np.full(len(matrix), float(self.length))


class TextFormat:
    """Keeps texts; `more` is how much longer a text is when it is read again."""

    name = "text"
    tolerance = 1e-9

    def __init__(self, more=0.0):
        self.more = more

    def author(self, model):
        return Length(model)

    def loads(self, data):
        return Length(data.decode(), self.more)

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
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [None, "u", "v"]})
    fitted = transformation.fit({"a": "float", "b": "string"}, frame)
    handoff.save(tmp_path, TrainingData(Rows(frame=frame, y=np.array([0.0, 1.0, 1.0]))), fitted)

    def call(function, *, more=0.0, **parameters):
        arguments = {"train": fitting.reference(function), "folder": str(tmp_path), "out": str(tmp_path / "model"), "parameters": parameters}
        return fitting.fit(arguments, {"text": TextFormat(more)}), tmp_path / "model"

    return call


def test_the_function_gets_what_was_saved_and_its_model_is_kept(fit):
    made, model = fit(train)
    assert (made["format"], made["libraries"], made["classes"]) == ("text", {"text": "1"}, ())
    assert model.read_text() == "(3, 2) 2 ('a', 'b') (1,)"


def test_parameters_are_passed_by_name(fit):
    assert "('A', 'B')" in fit(train, shout=True)[1].read_text()


def test_a_model_that_no_format_keeps_is_named_with_the_formats_there_are(fit):
    with pytest.raises(InvalidInput, match=r"train_a_number' returned .*: a builtins\.float can be kept by none of the installed formats \['text'\]"):
        fit(train_a_number)


def test_a_model_that_answers_otherwise_when_it_is_kept_is_refused_with_the_rows(fit):
    with pytest.raises(InvalidInput, match=r"rows differ, for example \{'a': 1\.0, 'b': None\}: the author's builtins\.str answers 24"):
        fit(train, more=1e-3)
    made, _ = fit(train)
    assert made["parity"]["compared"] > 50
    assert made["parity"]["difference"] == 0


def test_what_user_code_raises_is_not_hidden(fit):
    with pytest.raises(ZeroDivisionError, match="no rows of this kind"):
        fit(train_badly)


def test_a_step_stands_at_the_top_level_of_its_module():
    assert fitting.step(train) is train
    with pytest.raises(InvalidInput, match="top level"):
        fitting.step(lambda data: data)
