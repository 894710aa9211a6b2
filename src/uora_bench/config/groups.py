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
_nodes: dict[Choice, dict[str, Any]] = {}
_base: dict[str | None, dict[str, Any]] = {}  # by UORA_DATA_DIR, which configs/config.yaml reads


def compose_groups(groups: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of the chosen ``groups`` (those not named are the defaults of configs/config.yaml), before the
    recipe and the command line are laid over it. The caller may change what it gets.

    Raises:
        UserError: when Hydra cannot compose the files.
    """
    prepare([groups])
    if "task" in groups and "backbone" not in groups:
        groups = {**groups, "backbone": _backbone_of(groups["task"])}
        prepare([groups])
    config = {**_base[_data_dir()], **{group: _nodes[group, name] for group, name in groups.items()}}
    copied: dict[str, Any] = pickle.loads(pickle.dumps(config))  # the fastest copy of plain data
    return copied


def prepare(choices: Iterable[Mapping[str, str]]) -> None:
    """Let Hydra compose whatever ``choices`` need and is not known yet, all in one composition."""
    if _data_dir() not in _base:
        _base[_data_dir()] = _compose([])
    wanted: dict[Choice, str] = {}  # -> the key of its node in the composition of all of them
    for groups in choices:
        for choice in groups.items():
            if choice not in _nodes:
                wanted.setdefault(choice, f"{choice[0]}_{len(wanted)}")
    if not wanted:
        return
    config = _compose([f"+{group}@{_MANY}.{key}='{name}'" for (group, name), key in wanted.items()])
    for (group, name), key in wanted.items():
        _nodes[group, name] = config[_MANY][key]


def _backbone_of(task: str) -> str:
    """The backbone that the file of ``task`` chooses, else the default one."""
    defaults = read_yaml(registry.path_of("task", task)).get("defaults") or ()
    chosen = (entry[_OVERRIDE] for entry in defaults if isinstance(entry, dict) and _OVERRIDE in entry)
    return str(next(chosen, _base[_data_dir()]["backbone"]["name"]))


def _data_dir() -> str | None:
    return os.environ.get("UORA_DATA_DIR")


def _compose(overrides: list[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(registry.configs_dir()), version_base="1.3"):
            config = hydra_compose("config", overrides=overrides)
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
