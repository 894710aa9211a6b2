"""Hydra's part: the chosen files of configs/ (method, task, backbone, …) put together.

Hydra takes about a tenth of a second for a composition, and a grid has hundreds of choices of groups. The files of one
group do not look into another's, so a composition tells the node of every group that it chose, and nodes are kept: a
thousand cells take as many compositions as the group with the most choices has, not one for each combination.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.errors import UserError

NODES = ("method", "task", "backbone", "trainer", "tracker")  # groups that are a node of the configuration
Choice = tuple[str, str]  # group, name
_nodes: dict[Choice, dict[str, Any]] = {}
_backbone_of: dict[str, dict[str, Any]] = {}  # task -> the node of the backbone that its file chooses
_base: dict[str | None, dict[str, Any]] = {}  # by UORA_DATA_DIR, which configs/config.yaml reads


def compose_groups(groups: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of the chosen ``groups`` (those not named are the defaults of configs/config.yaml), before the
    recipe and the command line are laid over it. The caller may change what it gets.

    Raises:
        UserError: when Hydra cannot compose the files.
    """
    prepare([groups])
    config = {**_base[_data_dir()], **{group: _nodes[group, name] for group, name in groups.items()}}
    if "task" in groups and "backbone" not in groups:
        config["backbone"] = _backbone_of[groups["task"]]
    copied: dict[str, Any] = pickle.loads(pickle.dumps(config))  # the fastest copy of plain data
    return copied


def prepare(choices: Iterable[Mapping[str, str]]) -> None:
    """Let Hydra compose whatever ``choices`` need and is not known yet, in as few compositions as possible."""
    if _data_dir() not in _base:
        _base[_data_dir()] = _compose({})
    wanted: dict[str, dict[str, None]] = {group: {} for group in NODES}
    alone: dict[str, None] = {}  # tasks that choose their backbone themselves
    for groups in choices:
        for group, name in groups.items():
            if (group, name) not in _nodes:
                wanted[group][name] = None
        task = groups.get("task")
        if task is not None and "backbone" not in groups and task not in _backbone_of:
            alone[task] = None
    tasks = [t for t in wanted["task"] if t not in alone]
    backbones = list(wanted["backbone"])
    others = {group: list(wanted[group]) for group in NODES if group not in ("task", "backbone")}
    # a task alone tells its own backbone; a backbone named beside it would hide that
    rounds: list[dict[str, str]] = [{"task": task} for task in alone]
    for task, backbone in itertools.zip_longest(tasks, backbones):
        rounds.append({g: n for g, n in (("task", task), ("backbone", backbone)) if n is not None})
    most = max([len(rounds), *(len(names) for names in others.values())])
    rounds += [{} for _ in range(most - len(rounds))]
    for i, chosen in enumerate(rounds):
        chosen |= {group: names[i] for group, names in others.items() if i < len(names)}
        config = _compose(chosen)
        for group, name in chosen.items():
            _nodes[group, name] = config[group]
        if "task" in chosen and "backbone" not in chosen:
            _backbone_of[chosen["task"]] = config["backbone"]


def _data_dir() -> str | None:
    return os.environ.get("UORA_DATA_DIR")


def _compose(groups: Mapping[str, str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(registry.configs_dir()), version_base="1.3"):
            config = hydra_compose("config", overrides=[f"{k}='{v}'" for k, v in groups.items()])
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
