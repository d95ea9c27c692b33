"""PyTorch models: the law, and that nothing but listed operations is ever called. `pip install torch==2.13.0 safetensors` runs these."""

import json
import struct
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="pip install torch==2.13.0 safetensors")
pytest.importorskip("safetensors", reason="pip install safetensors")

from rota.backends.models.envelope import unwrapped, wrapped  # noqa: E402
from rota.backends.models.torch_format import TorchFormat  # noqa: E402
from rota.errors import Corrupt, InvalidInput  # noqa: E402
from rota.ports.models import AuthorRows  # noqa: E402
from rota.testing.model_format import ModelFormatContract  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")]  # torch warns of itself


class Residual(torch.nn.Module):  # type: ignore[misc]
    """Layers of many kinds, a constant of its own, and a shape that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 1)
        self.batch = torch.nn.BatchNorm1d(8)
        self.register_buffer("scale", torch.tensor([0.5]))

    def forward(self, x: Any) -> Any:
        hidden = torch.nn.functional.gelu(self.norm(self.first(x))) + self.batch(self.first(x))
        return torch.sigmoid(self.second(hidden) * self.scale).view(x.shape[0])


class Whole(torch.nn.Linear):  # type: ignore[misc]
    """One answer for all rows together."""

    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows).mean(dim=0)


def models() -> list[Any]:
    torch.manual_seed(0)
    layers = torch.nn
    plain = layers.Sequential(layers.Linear(4, 8), layers.ReLU(), layers.Dropout(0.5), layers.Linear(8, 1))
    classes = layers.Sequential(layers.Linear(4, 2), layers.Softmax(dim=1))
    return [Residual(), plain, classes]


def answers(model: Any, matrix: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(matrix).float()).double().numpy()
    return found if found.ndim == 1 else found[:, -1]


class TestTorchFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> TorchFormat:
        return TorchFormat()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> list[Any]:
        matrix = np.random.default_rng(0).normal(size=(50, 4))
        return [(model, matrix, answers(model, matrix)) for model in models()]


def crafted(**changes: Any) -> bytes:
    """The bytes of a model whose graph says something else."""
    body = unwrapped("rota-torch", TorchFormat().dumps(models()[1]))
    (length,) = struct.unpack_from("<Q", body)
    graph = json.loads(body[8 : 8 + length]) | changes
    head = json.dumps(graph).encode()
    return wrapped("rota-torch", struct.pack("<Q", len(head)) + head + body[8 + length :])


@pytest.mark.parametrize(
    "operation",
    ["aten.from_file.default", "python.eval", "python.getattr", "prim.device.default", "aten.__class__.default", "os.system", "aten.add", ""],
)
def test_a_graph_that_calls_anything_else_is_corrupt(operation: str) -> None:
    step = {"name": "x", "op": operation, "args": ["touch mark"], "kwargs": {}}
    with pytest.raises((Corrupt, InvalidInput)):
        TorchFormat().loads(crafted(steps=[step]))


def test_torchs_own_archives_are_not_read() -> None:
    with pytest.raises(InvalidInput, match="runs code when it is read"):
        TorchFormat().imported(b"PK\x03\x04anything")
    kept = TorchFormat().dumps(models()[1])
    assert TorchFormat().imported(kept) == kept
    assert TorchFormat().describe(kept).width == 4


def test_several_numbers_a_row_are_classes_or_targets_as_the_problem_says_with_the_names_that_the_module_gives() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32).astype(np.float64)
    three, two = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1)), torch.nn.Linear(4, 2)
    three.output_names = ("ash", "oak", "elm")
    expected = three(torch.from_numpy(matrix).float()).detach().double().numpy()
    for problem in ("multiclass", None):
        format_ = TorchFormat(problem)
        kept = format_.dumps(three)
        inputs = format_.describe(kept)
        assert (inputs.problem, inputs.outputs) == (problem or "regression", ("ash", "oak", "elm"))
        np.testing.assert_allclose(format_.loads(kept).predict(matrix), expected, atol=1e-6)
        np.testing.assert_allclose(
            format_.author(three).answers(AuthorRows(("a", "b", "c", "d"), ("float",) * 4, matrix.tolist())), expected, atol=1e-6
        )
    kept = TorchFormat().dumps(two)
    assert TorchFormat().read_as("regression").describe(kept).outputs == ("y0", "y1")
    assert TorchFormat().read_as("regression").loads(kept).predict(matrix).shape == (5, 2)
    assert TorchFormat().loads(kept).predict(matrix).shape == (5,)


def test_what_gives_no_number_a_row_is_refused() -> None:
    with pytest.raises(InvalidInput, match="first dimension must be free and count the rows"):
        TorchFormat().dumps(Whole())
    with pytest.raises(InvalidInput, match="how many columns"):
        TorchFormat().dumps(torch.nn.ReLU())
