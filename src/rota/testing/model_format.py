"""ModelFormatContract: the law of `rota.ports.models.ModelFormat` as tests. Needs pytest."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rota.errors import Corrupt, InvalidInput
from rota.ports.models import ModelFormat
from rota.testing.contract import EngineContract


class ModelFormatContract(EngineContract):
    """Give the fixtures `format` and `fitted`: a list of (model, matrix, answers the model itself gives)."""

    def test_the_loaded_model_predicts_what_the_model_predicts(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        for model, matrix, answers in fitted:
            predictor = format.loads(format.dumps(model))
            found = predictor.predict(matrix)
            assert found.dtype == np.float64, type(model)
            assert found.shape == answers.shape, type(model)
            np.testing.assert_allclose(found, answers, rtol=0, atol=format.tolerance, err_msg=str(model))

    def test_one_row_at_a_time_gives_the_same_answers(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        for model, matrix, answers in fitted:
            predictor = format.loads(format.dumps(model))
            found = [predictor.predict(matrix[i : i + 1]) for i in range(20)]
            assert all(row.shape == (1, *answers.shape[1:]) for row in found)
            np.testing.assert_allclose(np.concatenate(found), answers[:20], rtol=0, atol=format.tolerance)

    def test_no_rows_give_no_answers_and_any_memory_layout_is_read(
        self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]
    ) -> None:
        model, matrix, answers = fitted[0]
        predictor = format.loads(format.dumps(model))
        assert predictor.predict(matrix[:0]).shape == (0, *answers.shape[1:])
        np.testing.assert_allclose(predictor.predict(np.asfortranarray(matrix)), answers, atol=format.tolerance)
        np.testing.assert_allclose(predictor.predict(matrix[::-1]), answers[::-1], atol=format.tolerance)

    def test_a_matrix_of_another_width_is_refused(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        model, matrix, _ = fitted[0]
        predictor = format.loads(format.dumps(model))
        for wrong in (matrix[:1, :-1], matrix[:5, :1], matrix[0], np.hstack([matrix, matrix])[:3]):
            with pytest.raises(InvalidInput):
                predictor.predict(wrong)

    def test_threads_get_their_own_answers(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        model, matrix, answers = fitted[0]
        predictor = format.loads(format.dumps(model))

        def ask(seed: int) -> float:
            picks = np.random.default_rng(seed).integers(0, len(matrix), 200)
            return max(float(np.abs(predictor.predict(matrix[i : i + 1])[0] - answers[i]).max()) for i in picks)

        with ThreadPoolExecutor(4) as pool:
            assert max(pool.map(ask, range(8))) < format.tolerance

    def test_foreign_and_damaged_bytes_are_corrupt(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        data = format.dumps(fitted[0][0])
        middle = len(data) // 2
        damaged = [b"", b"\0" * 100, b"hello", os.urandom(1_000), data[:middle], data[:-100], data[:middle] + b"????" + data[middle + 4 :]]
        for found in damaged:
            with pytest.raises(Corrupt):
                format.loads(found)

    @pytest.mark.parametrize("thing", [None, 3, "text", object(), dict, np.zeros(3)], ids=lambda thing: type(thing).__name__)
    def test_accepts_says_no_without_raising(self, format: ModelFormat, thing: object) -> None:
        assert format.accepts(thing) is False

    def test_accepts_its_own_and_names_its_libraries(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        assert all(format.accepts(model) is True for model, _, _ in fitted)
        assert all(version[0].isdigit() for version in format.libraries().values())
        assert format.name
