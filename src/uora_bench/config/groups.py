"""Hydra's part: the chosen files of configs/ (method, task, backbone, …) put together.

Hydra takes about a tenth of a second for a composition, and a grid has hundreds of choices of groups. The files of one
group do not look into another's, so one composition places every choice in a package of its own
(``+task@many.task_0=glue/rte``), and the nodes are kept: a thousand cells take two compositions.
"""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.util.yaml_text import parse_yaml, yaml_problem

NODES = ("method", "task", "backbone", "trainer", "tracker")  # groups that are a node of the configuration
Choice = tuple[str, str]  # group, name
# what is looked at before the dataclasses say what else is wrong with a file
_NEEDED = {
    "method": ("name",),
    "task": ("name", "family", "kind", "source"),
    "backbone": ("name", "kind", "target_modules"),
}
_MANY = "many"  # the package of all choices in one composition
_OVERRIDE = "override /backbone@_global_.backbone"  # how a task's file says which backbone it takes
Node = dict[str, Any]
# what configs/ is made of: the plug-ins' folders, and UORA_DATA_DIR, which configs/config.yaml reads
State = tuple[tuple[Path, ...], str | None]
_base: dict[State, Node] = {}  # the configuration of the default choices
_nodes: dict[State, dict[Choice, Node]] = {}


def compose_groups(groups: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of the chosen ``groups``, without the recipe and the command line.

    Groups that are not named are the defaults of configs/config.yaml. The caller may change the result: it is a copy.

    Raises:
        UserError: when Hydra cannot compose the files.
    """
    nodes = prepare([groups])
    if "task" in groups and "backbone" not in groups:
        groups = {**groups, "backbone": _backbone_of(groups["task"])}
        nodes = prepare([groups])
    config = {**_base[_state()], **{group: nodes[group, name] for group, name in groups.items()}}
    copied: dict[str, Any] = pickle.loads(pickle.dumps(config))  # the fastest copy of plain data
    return copied


def prepare(choices: Iterable[Mapping[str, str]]) -> Mapping[Choice, Node]:
    """The nodes of ``choices``, among others; Hydra composes those that are not known yet, all in one composition."""
    state = _state()
    if state not in _base:
        _base[state] = _compose([])
    nodes = _nodes.setdefault(state, {})
    wanted: dict[Choice, str] = {}  # -> the key of its node in the composition of all of them
    for groups in choices:
        for choice in groups.items():
            if choice not in nodes:
                wanted.setdefault(choice, f"{choice[0]}_{len(wanted)}")
    if not wanted:
        return nodes
    for group, name in wanted:
        _check_yaml(group, name)
    config = _compose([f"+{group}@{_MANY}.{key}='{name}'" for (group, name), key in wanted.items()])
    for (group, name), key in wanted.items():
        node = config[_MANY][key]
        lacking = [part for part in _NEEDED.get(group, ()) if not isinstance(node, dict) or part not in node]
        if group == "backbone" and not lacking and not isinstance(node["target_modules"], dict):
            lacking = ["target_modules.modules"]
        if lacking:
            raise UserError(f"'{registry.path_of(group, name)}' has no '{lacking[0]}:', which every {group} needs")
        nodes[group, name] = node
    return nodes


def _check_yaml(group: str, name: str) -> None:
    """Raise `UserError` where the file of a choice is of a plug-in and no mapping in YAML.

    Hydra's errors name no remedy, and the package's own files are read by tests.
    """
    path = registry.file_of(group, name)
    if path is not None and not path.is_relative_to(registry.configs_dir()):
        read_yaml(path)


def _backbone_of(task: str) -> str:
    """The backbone that the file of ``task`` chooses, else the default one."""
    defaults = read_yaml(registry.path_of("task", task)).get("defaults") or ()
    chosen = (entry[_OVERRIDE] for entry in defaults if isinstance(entry, dict) and _OVERRIDE in entry)
    return str(next(chosen, _base[_state()]["backbone"]["name"]))


def _state() -> State:
    return tuple(registry.roots()), os.environ.get("UORA_DATA_DIR")


def _compose(overrides: list[str]) -> dict[str, Any]:
    import yaml
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(registry.configs_dir()), version_base="1.3"):
            mine = ",".join(f"'file://{root}'" for root in registry.roots()[1:])
            config = hydra_compose("config", overrides=[*overrides, *([f"hydra.searchpath=[{mine}]"] if mine else [])])
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"the configuration does not compose: {' '.join(str(error).split())[:300]}") from None


@functools.cache
def read_yaml(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML file that composes nothing (a recipe, an experiment); not to be changed.

    Raises:
        UserError: for a file that is not YAML, holds no mapping, or a key twice.
    """
    import yaml

    try:
        content: Any = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is not YAML: {yaml_problem(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"'{path}' holds no keys with values; see the files of configs/ for what it needs")
    return content
