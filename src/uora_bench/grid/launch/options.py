"""A launcher's options: configs/launcher/<name>.yaml with the command line's ``launcher.*`` laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.util.schema import build
from uora_bench.util.yaml_text import parse_yaml

T = TypeVar("T")
_REFERENCE = "race.reference."  # behind it stand keys of cells, dots and all
# what other tools call the number of cells side by side
_SIDE_BY_SIDE = ("workers", "num_workers", "max_workers", "jobs", "n_jobs", "max_jobs", "slots", "parallel")


def read_launcher_options(cls: type[T], name: str, given: Mapping[str, Any]) -> T:
    """The options of launcher ``name`` as a ``cls``; raises `UserError` for an unknown key or a wrong type."""
    path = registry.configs_dir() / "launcher" / f"{name}.yaml"
    data = parse_yaml(path.read_text(encoding="utf-8"))
    for key, value in given.items():
        if key in _SIDE_BY_SIDE and key not in data:
            raise UserError(
                f"unknown key 'launcher.{key}'; how many cells run side by side is launcher.cpu_slots (on cores), "
                "launcher.slots_per_gpu (on each GPU); launcher.processes is of one cell (uora-bench explain <key>)"
            )
        node = data
        *parents, last = key.split(".", 2 if key.startswith(_REFERENCE) else -1)
        for part in parents:
            if node.get(part) is None:
                node[part] = {}
            node = node[part] if isinstance(node[part], dict) else node
        node[last] = value
    return build(cls, data, "launcher")
