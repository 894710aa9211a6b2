"""YAML as all files here are read: plain values only, no key twice, and no more of it than anybody writes."""

from __future__ import annotations

import functools
from typing import Any

_VALUES = 100_000  # of a file at most, each alias counted as what it stands for
_DEPTH = 100  # lists and mappings inside each other at most


def parse_yaml(text: str) -> Any:
    """The values in the YAML document ``text``.

    Raises `yaml.YAMLError`, also where PyYAML would take the last of two equal keys, for aliases that stand for more
    than a file may hold, and for lists that are nested without end.
    """
    import yaml

    loader = _loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}, 0) > _VALUES:
            raise yaml.YAMLError(f"its aliases (*name) stand for more than {_VALUES:,} values")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    finally:
        loader.dispose()


def yaml_problem(error: Exception) -> str:
    """What `parse_yaml` could not read, on one line, and what to do about the commonest mistake."""
    text = " ".join(str(error).split())[:200]
    if "mapping values are not allowed" in text:
        text += "; a text with a colon in it needs quotes"
    return text


def _values(node: Any, known: dict[int, int], depth: int) -> int:
    """How many values ``node`` holds; ``known``: of the nodes that were counted, 0 of those around this one."""
    import yaml

    if not isinstance(node, yaml.CollectionNode):
        return 1
    if depth > _DEPTH:
        raise yaml.YAMLError(f"it is nested too deeply (more than {_DEPTH} lists or mappings inside each other)")
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.YAMLError("an alias (*name) stands for something that it is itself a part of")
        return known[id(node)]
    known[id(node)] = 0
    inside = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_values(part, known, depth + 1) for part in inside)
    return known[id(node)]


@functools.cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(None, None, f"key '{twice}' occurs twice", node.start_mark)
            return super().construct_mapping(node, deep)

    return Loader
