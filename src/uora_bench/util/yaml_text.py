"""YAML as all files here are read: plain values only, and no key twice."""

from __future__ import annotations

import functools
from typing import Any


def parse_yaml(text: str) -> Any:
    """What ``text`` says; raises `yaml.YAMLError`, also where PyYAML would take the last of two equal keys."""
    import yaml

    try:
        return yaml.load(text, _loader())
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


@functools.cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(None, None, f"key '{twice}' is there twice", node.start_mark)
            return super().construct_mapping(node, deep)

    return Loader
