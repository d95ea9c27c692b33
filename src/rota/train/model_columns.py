"""Which columns a trained model reads, and in which vocabulary: by what it says itself, else by the matrix that it was given."""

from rota.errors import InvalidInput
from rota.manage.models import transformation
from rota.ports.models import ModelInputs
from rota.records.model import Transformation, TransformedColumn


def read(inputs: ModelInputs, fitted: Transformation) -> Transformation:
    """The transformation that a model is served with, out of that of its training rows; raises `InvalidInput` for columns that are none of theirs.

    A model that was fitted on a frame names its columns, and its own encoders know their texts; one that was fitted on the matrix reads all of
    its columns in their order, and texts by the codes of the training rows.
    """
    columns = _named(inputs, fitted)
    return Transformation(tuple(transformation.of_model(column, place, inputs) for place, column in enumerate(columns)))


def is_text(inputs: ModelInputs, place: int) -> bool:
    """Whether the model knows the texts of a column, or reads them as they are."""
    return place in inputs.texts or place in inputs.free_texts


def _named(inputs: ModelInputs, fitted: Transformation) -> tuple[TransformedColumn, ...]:
    by_name = {column.name: column for column in fitted.columns}
    if inputs.names and set(inputs.names) <= by_name.keys():
        return tuple(by_name[name] for name in inputs.names)
    width, texts = inputs.width, [column for column in fitted.columns if column.type == "string"]
    if width in (0, len(fitted.columns)):
        return fitted.columns
    if not inputs.names and width == 1 and inputs.free_texts and len(texts) == 1:
        return tuple(texts)
    foreign = [name for name in inputs.names if name not in by_name]
    if foreign and len(foreign) < len(inputs.names):
        raise InvalidInput(
            f"it was fitted on the columns {foreign}, which are no features and are not there when it is asked; fit it on data.train.frame "
            "(or data.train.to_pandas()), which holds the features alone",
            columns=foreign,
        )
    raise InvalidInput(
        f"it reads {width} columns{f' {list(inputs.names)}' if inputs.names else ''}, and the pipeline has the {len(fitted.columns)} features "
        f"{[column.name for column in fitted.columns]}; fit it on all of data.train.x, or on columns of a frame by their names"
    )
