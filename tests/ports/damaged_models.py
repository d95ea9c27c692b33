"""Loads and asks damaged model files, as many as told: run with a format, a seed and a count; dies by a signal where a check lets one through.

Each file is a real one of its framework with bytes flipped, cut, doubled, or numbers of its trees replaced; its checksum is made right again, as
somebody would who means harm. It must be refused by an error of Rota, or answer.
"""

import io
import json
import random
import re
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import skops.io
import xgboost
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsRegressor, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.svm import SVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from rota.backends.models import envelope, lightgbm_format
from rota.backends.models.onnx_format import OnnxFormat
from rota.backends.models.skops_format import SkopsFormat
from rota.backends.models.xgboost_format import XGBoostFormat
from rota.errors import RotaError
from rota.ports.models import ModelFormat

LONGEST_S = 60
"""After this long a call counts as one that never ends."""
Files = list[bytes]
Play = tuple[ModelFormat, Files, Callable[[random.Random, bytes], bytes], Callable[[bytes], bytes]]


def data() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(5)
    matrix = np.c_[drawn.normal(size=(300, 2)), drawn.integers(0, 6, 300)].astype(np.float64)
    return matrix, ((matrix[:, 0] > 0) ^ (matrix[:, 2] == 3)).astype(int)


def lightgbm_play() -> Play:

    matrix, binary = data()
    options = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 6, "max_bin": 15, "min_data_per_group": 1}
    texts = [
        lightgbm.train(options, lightgbm.Dataset(matrix, binary, categorical_feature=[2]), 2),
        lightgbm.train({**options, "objective": "regression", "linear_tree": True}, lightgbm.Dataset(matrix, binary), 2),
        lightgbm.train({**options, "objective": "multiclass", "num_class": 3}, lightgbm.Dataset(matrix, np.arange(300) % 3), 2),
    ]
    short = [text.model_to_string().partition("\nfeature_importances")[0].encode() for text in texts]
    return lightgbm_format.LightGBMFormat(), short, _numbers_of_a_text, lambda file: lightgbm_format._sealed(file.decode())


def xgboost_play() -> Play:

    matrix, binary = data()
    frame = pd.DataFrame({"a": matrix[:, 0], "b": matrix[:, 1], "c": pd.Categorical(np.array(list("pqrstu"))[matrix[:, 2].astype(int)])})
    trees = xgboost.XGBClassifier(n_estimators=2, max_depth=3, enable_categorical=True, max_cat_to_onehot=1, n_jobs=1).fit(frame, binary)
    dart = xgboost.XGBRegressor(n_estimators=2, max_depth=2, booster="dart", n_jobs=1, verbosity=0).fit(matrix, binary)
    classes = xgboost.XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1).fit(matrix, np.arange(300) % 3)
    vectors = xgboost.XGBRegressor(n_estimators=2, max_depth=3, n_jobs=1, multi_strategy="multi_output_tree").fit(matrix, matrix[:, :2])
    files = [bytes(model.get_booster().save_raw(kind)) for model in (trees, dart, classes, vectors) for kind in ("ubj", "json")]
    return XGBoostFormat(), files, _numbers_of_json, lambda file: envelope.wrapped("rota-xgboost", file)


def skops_play() -> Play:

    matrix, binary = data()
    models = [
        RandomForestClassifier(2, max_depth=3, random_state=0),
        GradientBoostingRegressor(n_estimators=2, random_state=0),
        HistGradientBoostingClassifier(max_iter=2, categorical_features=[2], random_state=0),
        KNeighborsRegressor(algorithm="kd_tree"),
        KNeighborsRegressor(algorithm="ball_tree"),
        make_pipeline(SplineTransformer(), KNeighborsRegressor(algorithm="brute")),
        SVC(),
        KMeans(3, n_init=1),
        IsolationForest(n_estimators=3, max_features=2, random_state=0),
        LocalOutlierFactor(novelty=True),
        OneClassSVM(),
        MultiOutputClassifier(DecisionTreeClassifier(max_depth=2)),
        make_pipeline(SplineTransformer(), GradientBoostingRegressor(n_estimators=1)),
    ]
    return (
        SkopsFormat(),
        [skops.io.dumps(model.fit(matrix, _target(model, binary))) for model in models if not isinstance(model, SVC)],
        _members_of_an_archive,
        bytes,
    )


def _target(model: Any, binary: np.ndarray) -> np.ndarray:
    return np.column_stack([binary, 1 - binary]) if isinstance(model, MultiOutputClassifier) else binary


def onnx_play() -> Play:

    matrix, binary = data()
    models = [
        RandomForestClassifier(2, max_depth=3, random_state=0),
        make_pipeline(StandardScaler(), GradientBoostingRegressor(n_estimators=2, random_state=0)),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ]
    classes = RandomForestClassifier(2, max_depth=3, random_state=0).fit(matrix, np.arange(300) % 3)
    fitted = [*(model.fit(matrix, binary) for model in models), classes]
    files = [to_onnx(model, matrix[:1].astype(np.float32), target_opset=17).SerializeToString() for model in fitted]
    return OnnxFormat(), files, _attributes_of_nodes, lambda file: envelope.wrapped("rota-onnx", file)


PLAYS: dict[str, Callable[[], Play]] = {"lightgbm": lightgbm_play, "xgboost": xgboost_play, "skops": skops_play, "onnx": onnx_play}


def _number(drawn: random.Random, old: float) -> int:
    return drawn.choice([old + drawn.choice([-2, -1, 1, 2]), -old, ~int(old), 0, -1, drawn.randrange(-9, 40), 2**31 - 1, 10**9, -(2**31)])


def _numbers_of_a_text(drawn: random.Random, file: bytes) -> bytes:
    lines = file.decode().split("\n")
    numbered = [place for place, line in enumerate(lines) if re.search(r"=-?\d", line)]
    for _ in range(drawn.randrange(1, 4)):
        place = drawn.choice(numbered)
        name, _, written = lines[place].partition("=")
        words = written.split(" ")
        at = drawn.randrange(len(words))
        action = drawn.random()
        if action < 0.8:
            words[at] = str(_number(drawn, float(words[at]) if re.fullmatch(r"-?\d+(\.\d+)?", words[at]) else 1))
        elif action < 0.9:
            del words[at]
        else:
            words.insert(at, words[at])
        lines[place] = f"{name}={' '.join(words)}"
    return "\n".join(lines).encode()


def _numbers_of_json(drawn: random.Random, file: bytes) -> bytes:
    if not file.startswith(b'{"'):
        return _flipped(drawn, file)
    model = json.loads(file)
    for _ in range(drawn.randrange(1, 4)):
        holder, key = drawn.choice(list(_leaves(model)))
        old = holder[key]
        text = isinstance(old, str)
        new = _number(drawn, float(old) if not text or re.fullmatch(r"-?\d+", old) else 1)
        holder[key] = str(new) if text else new
    return json.dumps(model).encode()


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, found in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(found, dict | list):
            yield from _leaves(found)
        else:
            yield value, key


def _members_of_an_archive(drawn: random.Random, file: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(buffer, "w") as new:
        members = [name for name in old.namelist() if name.endswith(".npy")]
        chosen = drawn.choice([*members, "schema.json"])
        for name in old.namelist():
            body = old.read(name)
            if name == chosen:
                body = _array(drawn, body) if name in members and drawn.random() < 0.9 else _flipped(drawn, body, printable=name == "schema.json")
            new.writestr(name, body)
    return buffer.getvalue()


def _array(drawn: random.Random, body: bytes) -> bytes:
    cells = np.load(io.BytesIO(body))
    flat = cells.reshape(-1)
    for _ in range(drawn.randrange(1, 4)):
        if not flat.size:
            break
        at = drawn.randrange(flat.size)
        if flat.dtype.names:
            field = drawn.choice(flat.dtype.names)
            flat[field][at] = np.array(float(_number(drawn, float(flat[field][at])))).astype(flat.dtype[field])
        else:
            flat[at] = np.array(float(_number(drawn, float(flat[at])))).astype(flat.dtype)
    buffer = io.BytesIO()
    np.save(buffer, flat[: max(len(flat) - 1, 0)] if drawn.random() < 0.1 else cells)
    return buffer.getvalue()


def _attributes_of_nodes(drawn: random.Random, file: bytes) -> bytes:

    model = onnx.load_model_from_string(file)
    for _ in range(drawn.randrange(1, 4)):
        attribute = drawn.choice([each for node in model.graph.node for each in node.attribute])
        if attribute.ints:
            at = drawn.randrange(len(attribute.ints))
            if drawn.random() < 0.9:
                attribute.ints[at] = _number(drawn, attribute.ints[at])
            else:
                del attribute.ints[at]
        elif attribute.floats:
            attribute.floats[drawn.randrange(len(attribute.floats))] = float(_number(drawn, 1))
        elif attribute.strings:
            attribute.strings[drawn.randrange(len(attribute.strings))] = drawn.choice([b"LEAF", b"BRANCH_LEQ", b"BRANCH_EQ", b"x"])
        else:
            attribute.i = _number(drawn, attribute.i)
    return model.SerializeToString()


def _flipped(drawn: random.Random, file: bytes, *, printable: bool = False) -> bytes:
    body = bytearray(file)
    for _ in range(drawn.randrange(1, 4)):
        at, action = drawn.randrange(len(body)), drawn.random()
        if action < 0.7:
            body[at] = drawn.choice(b"0123456789-") if printable else body[at] ^ (1 << drawn.randrange(8))
        elif action < 0.8:
            del body[at : at + drawn.randrange(1, 40)]
        elif action < 0.9:
            body[at:at] = body[at : at + drawn.randrange(1, 40)]
        else:
            del body[at:]
        if not body:
            break
    return bytes(body)


def rows() -> np.ndarray:
    drawn = np.random.default_rng(1)
    plain = drawn.normal(size=(50, 3)) * np.array([1.0, 3.0, 4.0])
    return np.r_[plain, plain * 1e6, np.abs(plain).round(), np.full((1, 3), np.nan), np.full((1, 3), 2e9), np.full((1, 3), -2e9), np.zeros((1, 3))]


def play(name: str, seed: int, count: int) -> None:
    law, files, numbers, sealed = PLAYS[name]()
    asked, refused = rows(), 0
    for number in range(seed, seed + count):
        drawn = random.Random(number)
        file = drawn.choice(files)
        damaged = numbers(drawn, file) if drawn.random() < 0.7 else _flipped(drawn, file)
        Path(sys.argv[4]).write_bytes(damaged)
        signal.alarm(LONGEST_S)
        for made in (law.imported, sealed):
            try:
                data = made(damaged)
                for part in (asked, asked[:1]):
                    law.loads(data).predict(part)
            except (RotaError, UnicodeDecodeError):
                refused += 1
        signal.alarm(0)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    sys.stdout.write(f"refused {refused} of {2 * count}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    play(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
