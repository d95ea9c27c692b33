"""Model files that a stranger damaged: refused with tree and node named, or predicting; never the end of the process, never without an end."""

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rota.backends.models.envelope import wrapped
from rota.backends.models.lightgbm_format import LightGBMFormat, _sealed
from rota.backends.models.onnx_format import OnnxFormat
from rota.backends.models.skops_format import SkopsFormat
from rota.backends.models.xgboost_format import XGBoostFormat
from rota.errors import Corrupt, InvalidInput

PROGRAM = Path(__file__).parent / "damaged_models.py"
FEATURES, THRESHOLDS, LEFT, RIGHT = "0 0", "1000000 1000000000", "-1 -2", "1 -3"


def tree_text(*, features: str = FEATURES, thresholds: str = THRESHOLDS, left: str = LEFT, right: str = RIGHT, kinds: str = "2 2") -> str:
    """A LightGBM model of one tree with two splits."""
    return (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\nobjective=regression\n"
        "feature_names=x\nfeature_infos=[0:1]\n\n"
        f"Tree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature={features}\nsplit_gain=1 1\nthreshold={thresholds}\ndecision_type={kinds}\n"
        f"left_child={left}\nright_child={right}\nleaf_value=1 2 3\nleaf_weight=1 1 1\nleaf_count=1 1 1\ninternal_value=0 0\n"
        "internal_weight=2 2\ninternal_count=3 2\nis_linear=0\nshrinkage=1\n\n\n"
        "end of trees\n\nparameters:\nend of parameters\n\npandas_categorical:null\n"
    )


def test_the_undamaged_tree_answers() -> None:
    model = LightGBMFormat().loads(_sealed(tree_text()))
    assert model.predict(np.array([[0.0], [2e6], [2e9]])).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"left": "-1 1"}, r"tree 0, node 1: node 1 is the child of 2 nodes"),
        ({"left": "-1 1", "right": "1 5000000"}, r"tree 0, node 1: its right child is 5000000"),
        ({"right": "1 5000000"}, r"tree 0, node 1: its right child is 5000000, which is no node of 2"),
        ({"left": "-1 0"}, r"tree 0, node 1: its left child is 0"),
        ({"left": "-1 -9"}, r"tree 0, node 1: its left child is leaf 8, and there are 3"),
        ({"features": "0 7"}, r"tree 0, node 1: it asks column 7, and there are 1"),
        ({"thresholds": "1 nan"}, r"tree 0, node 1: its threshold is no number"),
        ({"thresholds": "1"}, r"tree 0: threshold has 1 values where the tree needs 2"),
        ({"kinds": "2 3"}, r"tree 0, node 1: it splits by set 1e\+09 of categories, and there are 0"),
        ({"kinds": "2 14"}, r"tree 0, node 1: its kind of missing values is 3"),
        ({"left": "-1 99999999999"}, r"tree 0: left_child holds a number of more than 32 bits"),
        ({"left": "-1 1_0"}, r"tree 0: left_child holds something that is no whole number"),
    ],
)
def test_a_lightgbm_tree_that_would_end_or_hang_the_process_is_refused_with_tree_and_node(damage: dict[str, str], told: str) -> None:
    text = tree_text(**damage)
    with pytest.raises(Corrupt, match=told):
        LightGBMFormat().loads(_sealed(text))
    with pytest.raises(InvalidInput, match=told):
        LightGBMFormat().imported(text.encode())
    with pytest.raises(Corrupt, match=told):
        LightGBMFormat().held(_sealed(text))


def test_sizes_of_trees_that_lead_elsewhere_are_refused() -> None:
    text = tree_text().replace("feature_infos=[0:1]\n", "feature_infos=[0:1]\ntree_sizes=400 9000000\n")
    with pytest.raises(Corrupt, match="tree_sizes names 2 trees"):
        LightGBMFormat().loads(_sealed(text))


@pytest.mark.parametrize("children", [(1, 1), (0, 2), (1, 999_999)])
def test_a_tree_of_scikit_learn_that_would_not_end_is_refused(children: tuple[int, int]) -> None:
    tree = pytest.importorskip("sklearn.tree").DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0]], [0.0, 1.0])
    state = tree.tree_.__getstate__()
    state["nodes"]["left_child"][0], state["nodes"]["right_child"][0] = children
    tree.tree_.__setstate__(state)
    data = SkopsFormat().kept(tree)
    with pytest.raises(Corrupt, match="Tree, node 0"):
        SkopsFormat().loads(data)
    with pytest.raises(InvalidInput, match="Tree, node 0"):
        SkopsFormat().imported(data)


def test_a_tree_that_says_it_has_more_nodes_than_it_holds_is_not_even_built() -> None:
    tree = pytest.importorskip("sklearn.tree").DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0]], [0.0, 1.0])
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SkopsFormat().kept(tree))) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb'("node_count": {[^}]*"content": )"3"', rb'\1"900000000"', old.read(name)))
    with pytest.raises(Corrupt, match="it has 900000000 nodes and holds"):
        SkopsFormat().loads(buffer.getvalue())


def boosted(**changes: list[int]) -> bytes:
    """A model of XGBoost with one tree of three nodes, as JSON."""
    json = pytest.importorskip("json")
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBRegressor(n_estimators=1, max_depth=1, n_jobs=1).fit(np.arange(20.0).reshape(-1, 1), np.arange(20.0))
    held = json.loads(model.get_booster().save_raw("json"))
    held["learner"]["gradient_booster"]["model"]["trees"][0].update(changes)
    return bytes(json.dumps(held).encode())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"left_children": [0, -1, -1]}, "tree 0, node 0: its left child is 0"),
        ({"left_children": [2, -1, -1]}, "tree 0, node 0: node 2 is the child of 2 nodes"),
        ({"right_children": [500_000, -1, -1]}, "tree 0, node 0: its right child is 500000"),
        ({"right_children": [2, 1, -1]}, "tree 0, node 1: its children are -1 and 1"),
        ({"split_indices": [3, 0, 0]}, "tree 0, node 0: it asks column 3, and there are 1"),
        ({"parents": [2**31 - 1, -7, 0]}, "tree 0, node 1: it says that its parent is -7"),
        ({"split_conditions": [1.0]}, "tree 0: split_conditions has 1 values where the tree needs 3"),
        ({"split_type": [1, 0, 0]}, "tree 0, node 0: it splits by categories and has none"),
    ],
)
def test_an_xgboost_tree_that_would_end_or_hang_the_process_is_refused_with_tree_and_node(changes: dict[str, list[int]], told: str) -> None:
    data = boosted(**changes)
    with pytest.raises(Corrupt, match=told):
        XGBoostFormat().loads(wrapped("rota-xgboost", data))
    with pytest.raises(InvalidInput, match=told):
        XGBoostFormat().imported(data)


def looping(rounds: object) -> bytes:
    """A graph whose loop adds 1 to its input, `rounds` times: a number, or the name of an input."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Add", ["v_in", "one"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor_value_info("go_out", TensorProto.BOOL, []), helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None)],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    constant = [helper.make_tensor("rounds", TensorProto.INT64, [], [rounds])] if isinstance(rounds, int) else []
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds" if constant else "", "", "x"], ["y"], name="again", body=body)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        constant,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_an_onnx_loop_of_a_bounded_number_of_rounds_is_served() -> None:
    data = OnnxFormat().imported(looping(3))
    assert OnnxFormat().loads(data).predict(np.array([[1.0], [2.0]])).tolist() == [4.0, 5.0]


@pytest.mark.parametrize("rounds", [2**62, 10_001, None])
def test_an_onnx_loop_without_a_bound_is_refused(rounds: object) -> None:
    with pytest.raises(InvalidInput, match="Loop 'again': its most rounds are"):
        OnnxFormat().imported(looping(rounds))
    with pytest.raises(Corrupt, match="Loop 'again'"):
        OnnxFormat().loads(wrapped("rota-onnx", looping(rounds)))


def onnx_trees(**changes: list[int]) -> bytes:
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    tree = pytest.importorskip("sklearn.tree").DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0]], [0.0, 1.0])
    model = to_onnx(tree, np.zeros((1, 1), dtype=np.float32), target_opset=17)
    for attribute in model.graph.node[0].attribute:
        if attribute.name in changes:
            attribute.ints[:] = changes[attribute.name]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nodes_truenodeids": [0, 0, 0]}, "node 0: its left child is 0"),
        ({"nodes_truenodeids": [2, 0, 0]}, "node 0: node 2 is the child of 2 nodes"),
        ({"nodes_falsenodeids": [77, 0, 0]}, "node 0: its right child is 3"),
        ({"nodes_featureids": [4, 0, 0]}, "node 0: it asks column 4, and there are 1"),
        ({"target_ids": [0, 9]}, "a leaf adds to output 9 of 1"),
        ({"target_nodeids": [1, 8]}, "a leaf's weight names a node that is none of its tree"),
    ],
)
def test_onnx_trees_that_would_end_or_hang_the_process_are_refused(changes: dict[str, list[int]], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        OnnxFormat().imported(onnx_trees(**changes))


def test_an_onnx_graph_that_asks_for_all_memory_or_writes_itself_out_without_end_is_refused() -> None:
    number = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [10**6, 10**6])
    graph = helper.make_graph([helper.make_node("ConstantOfShape", ["shape"], ["y"], name="all")], "g", [number], [answer], [shape])
    large = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(InvalidInput, match="asks for a tensor of 1e\\+12 cells"):
        OnnxFormat().imported(large.SerializeToString())
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    twice = [
        helper.make_function("own", f"f{n}", ["a"], ["c"], [helper.make_node(f"f{n + 1}", ["a"], ["b"], domain="own"), helper.make_node(f"f{n + 1}", ["b"], ["c"], domain="own")], imports)  # noqa: E501
        for n in range(40)
    ]  # fmt: skip
    last = helper.make_function("own", "f40", ["a"], ["c"], [helper.make_node("Identity", ["a"], ["c"])], imports)
    graph = helper.make_graph([helper.make_node("f0", ["x"], ["y"], domain="own")], "g", [number], [answer])
    endless = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=[*twice, last])
    with pytest.raises(InvalidInput, match="more than 1000000 nodes"):
        OnnxFormat().imported(endless.SerializeToString())
    onnx.load_model_from_string(endless.SerializeToString())


def played(name: str, seed: int, count: int, folder: Path) -> None:
    command = [sys.executable, str(PROGRAM), name, str(seed), str(count), str(folder / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{name} after {done.stdout.split()[-1:]}: exit {done.returncode}\n{done.stderr[-2_000:]}"
    refused = int(done.stdout.split("refused ")[1].split()[0])
    assert 0 < refused < 2 * count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "skops", "onnx"])
def test_no_damaged_file_ends_or_hangs_the_process(name: str, fuzz, tmp_path: Path) -> None:
    fuzz(lambda seed: played(name, seed * 1_000, 200, tmp_path))
