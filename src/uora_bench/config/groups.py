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

NODES = ("method", "task", "backbone", "trainer", "tracker")  # groups that are a node of the configuration
Choice = tuple[str, str]  # group, name
_MANY = "many"  # the package of all choices in one composition
_OVERRIDE = "override /backbone@_global_.backbone"  # how a task's file says which backbone it takes
Node = dict[str, Any]
# what configs/ is made of: the plug-ins' folders, and UORA_DATA_DIR, which configs/config.yaml reads
State = tuple[tuple[Path, ...], str | None]
_base: dict[State, Node] = {}  # the configuration of the default choices
_nodes: dict[State, dict[Choice, Node]] = {}


def compose_groups(groups: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of the chosen ``groups`` (those not named are the defaults of configs/config.yaml), before the
    recipe and the command line are laid over it. The caller may change what it gets.

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
    config = _compose([f"+{group}@{_MANY}.{key}='{name}'" for (group, name), key in wanted.items()])
    for (group, name), key in wanted.items():
        nodes[group, name] = config[_MANY][key]
    return nodes


def _backbone_of(task: str) -> str:
    """The backbone that the file of ``task`` chooses, else the default one."""
    defaults = read_yaml(registry.path_of("task", task)).get("defaults") or ()
    chosen = (entry[_OVERRIDE] for entry in defaults if isinstance(entry, dict) and _OVERRIDE in entry)
    return str(next(chosen, _base[_state()]["backbone"]["name"]))


def _state() -> State:
    return tuple(registry.roots()), os.environ.get("UORA_DATA_DIR")


def _compose(overrides: list[str]) -> dict[str, Any]:
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
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"the configuration does not compose: {str(error).splitlines()[0]}") from None


@functools.cache
def read_yaml(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML file that composes nothing (a recipe, an experiment); not to be changed.

    Raises:
        UserError: for a file that is not YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content: Mapping[str, Any] = yaml.load(path.read_text(encoding="utf-8"), loader)
    except yaml.YAMLError as error:
        raise UserError(f"'{path}' is not YAML: {' '.join(str(error).split())[:200]}") from None
    return content
