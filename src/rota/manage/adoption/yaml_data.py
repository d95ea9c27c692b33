"""YAML as plain data within limits: what its aliases and merges stand for is counted before anything is built of it."""

import math
from typing import Any

import yaml

from rota.errors import InvalidInput

MOST_NODES = 100_000
"""Values of a document with each alias counted as all that it stands for."""
LONGEST_NUMBER = 100
"""Characters of a text that may be read as a number: `1:2:3...` is one of base 60."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def load(text: str) -> Any:
    """The one document of a text, as `yaml.safe_load` reads it; `InvalidInput` when it stands for more than MOST_NODES values or contains itself."""
    loader = yaml.SafeLoader(text)
    try:
        document = loader.get_single_node()
        if document is None:
            return None
        _check(document)
        return loader.construct_document(document)
    finally:
        loader.dispose()


def _check(document: yaml.Node) -> None:
    """Sizes from the leaves up, each node once: a node is on the way (NaN) until all below it have sizes."""
    sizes: dict[int, float] = {}
    waiting = [document]
    while waiting:
        node = waiting[-1]
        below = _below(node)
        if id(node) not in sizes:
            sizes[id(node)] = math.nan
            for each in below:
                if math.isnan(sizes.get(id(each), 0.0)):
                    raise InvalidInput("an alias stands for something that contains the alias itself")
            waiting += [each for each in below if id(each) not in sizes]
            continue
        waiting.pop()
        if math.isnan(sizes[id(node)]):
            sizes[id(node)] = 1 + sum(sizes[id(each)] for each in below)
            if sizes[id(node)] > MOST_NODES:
                raise InvalidInput(f"its aliases stand for more than {MOST_NODES} values")


def _below(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise InvalidInput(f"a number of {len(node.value)} characters is longer than {LONGEST_NUMBER}")
    return []
