"""From overrides on the command line to one plain, fully resolved configuration, and to the cell it describes.

Hydra composes the groups (`groups`), the recipe of method × backbone is laid over them, the command line over that.
This module owns the order of those layers and the errors about keys. What the values mean, and their types and ranges,
is said by `uora_bench.config.cell` and its dataclasses. No torch in here.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config import groups as group_files
from uora_bench.config import registry, synonyms
from uora_bench.config.cell import Cell, Settings
from uora_bench.errors import UserError, nearest

COMMAND_LINE = "command line"
# method=peft takes the fields of whatever PEFT type it is: a mapping that any key may enter, checked by the method
_OPEN, _PEFT = "method.fields.", "peft."
# What a record is labelled with: a command line that could set these could make a record say what is not so.
_LABELS = {
    f"{group}.{key}" for group in ("method", "task", "backbone") for key in ("name", "version", "family", "kind")
} | {"backbone.sha256"}
_LISTS = ("target_modules", "columns")  # keys whose default is no list, and whose value may be one
# keys of commands that work on many cells -> what to take for one cell
_OF_GRIDS = {
    "experiment": "uora-bench sweep experiment=… runs a grid, plan shows it, tables prints its scores; for one cell, "
    "experiment_name=<name> chooses the folder of its record",
    "launcher": "it is for uora-bench sweep and plan, which run many cells; one cell runs here",
    "rule": "every record has the scores under all rules; uora-bench tables rule=… chooses one afterwards",
}
# Values of these keys are text as it stands: a cell_id such as 17175e3302008168 or a folder 2024 is no number.
_TEXT = (
    "data.root",
    "results.dir",
    "runs.dir",
    "experiment_name",
    "init_from",
    "backbone.path",
    "backbone.id",
    "expect_cell_id",
    "task.path",
)


@dataclass(frozen=True)
class Composed:
    """The resolved configuration.

    ``sources``: for every key that is not a plain default, the label of where its value comes from; ``legend``: what
    the labels of the recipe stand for.
    """

    values: dict[str, Any]
    sources: dict[str, str]
    legend: dict[str, str]

    @functools.cached_property
    def cell(self) -> Cell:
        """The typed cell; raises `UserError` for an unknown key, a wrong type or a value outside its range."""
        return Cell.from_config(self.values)

    @functools.cached_property
    def settings(self) -> Settings:
        """Where and how this call runs the cell."""
        return Settings.from_config(self.values)


def compose(overrides: list[str]) -> Composed:
    """Resolve ``overrides`` (``key=value``, Hydra's grammar) into one configuration.

    Raises:
        UserError: for a ``+``, ``++`` or ``~`` prefix, a sweep, an unknown group value or key.
    """
    groups, values = _parse(synonyms.canonical(overrides))
    recipe_name = groups.pop("recipe", None)
    config = group_files.compose_groups(groups)
    method, backbone, task = (str(config[group]["name"]) for group in ("method", "backbone", "task"))
    named = copy.deepcopy(config["task"]["source"])
    own_model = backbone == registry.ANY_MODEL
    if own_model:
        config["backbone"]["kind"] = config["task"]["kind"]
    recipe = _recipe(recipe_name, method, f"default_{config['task']['kind']}" if own_model else backbone)
    config["recipe"] = {k: recipe[k] for k in ("name", "status", "note")}
    sources: dict[str, str] = {}
    for key, entry in recipe_values(recipe, task).items():
        key, value = synonyms.of_yaml(key, entry["value"], method)
        key = own_key(key, method, f"recipe {recipe['name']}: ")
        if config["task"]["kind"] != config["backbone"]["kind"] and key.startswith("task."):
            continue  # a text recipe's keys are not a vision task's; the pair is refused with its own words
        _assign(config, key, value, f"recipe {recipe['name']}: ")
        sources[key] = entry["source"]
    for key, value in values.items():
        key = own_key(key, method, "")
        if key.startswith("recipe.") or key in _LABELS:
            raise UserError(f"'{key}' describes a file of configs/ and can only be set there; choose another file")
        _assign(config, key, value, "")
        sources[key] = COMMAND_LINE
    _name_rows(config["task"], named)
    root = config["data"].get("root") if isinstance(config["data"], dict) else None  # `Settings` says what is wrong
    family = registry.task_options(str(config["task"]["family"]))
    config["task"] = family.normalised(config["task"], root)
    if own_model:
        config["backbone"] = registry.describe_model(config["backbone"], config["task"]["kind"], root)
    if "target_modules" in config["method"]:
        modules = config["backbone"]["target_modules"]["modules"]
        config["method"]["target_modules"] = synonyms.module_kinds(config["method"]["target_modules"], modules)
    config["method"] = registry.method_options(method).normalised(config["method"])
    legend = {k: v for k, v in (recipe.get("sources") or {}).items() if k in sources.values()}
    return Composed(config, sources, legend)


def _name_rows(task: dict[str, Any], named: Mapping[str, Any]) -> None:
    """Rename a ``task`` whose rows are not those of the ``named`` source in its file.

    Data other than GLUE is never called GLUE.
    """
    source = task["source"]
    if not isinstance(source, Mapping) or not isinstance(source.get("hub") or {}, Mapping):
        return  # of a wrong type, which the cell refuses
    hub, theirs = source.get("hub") or {}, named.get("hub") or {}
    if (source["benchmark"], source["dataset"]) != (named["benchmark"], named["dataset"]):
        task["name"] = f"local/{source['benchmark']}/{source['dataset']}"
    elif any(hub.get(key) != theirs.get(key) for key in ("id", "config")):
        task["name"] = f"{hub.get('id')}/{hub.get('config') or source['dataset']}" if hub else f"local/{task['name']}"


def _recipe(asked: str | None, method: str, backbone: str) -> Mapping[str, Any]:
    """The recipe ``asked`` for, else that of ``method`` on ``backbone``, else one that sets nothing."""
    own = f"{method}/{backbone}"
    path = registry.file_of("recipe", own) if asked is None else registry.path_of("recipe", asked)
    if path is None:
        return {
            "name": "none",
            "status": "own",
            "note": f"no recipe {own}: plain defaults",
            "common": {},
            "per_task": {},
        }
    recipe = group_files.read_yaml(path)
    _check_recipe(recipe, path)
    made_for = str(recipe["name"]).split("/")[0]
    if recipe["name"] != "none" and made_for != method:
        raise UserError(
            f"recipe={recipe['name']} is made for method={made_for}, not {method}; choose method={made_for} or "
            "recipe=none"
        )
    return recipe


def _check_recipe(recipe: Mapping[str, Any], path: Path) -> None:
    """Raise `UserError` for what the YAML of a recipe lacks."""
    lacking = [key for key in ("name", "status", "note", "common", "per_task") if key not in recipe]
    if lacking:
        raise UserError(f"'{path}' has no '{lacking[0]}:', which every recipe needs")
    per_task = recipe["per_task"] or {}
    parts = [recipe["common"] or {}, *(per_task.values() if isinstance(per_task, dict) else [per_task])]
    for part in parts:
        entries = part.items() if isinstance(part, dict) else [(part, None)]
        for key, entry in entries if part is not None else ():
            if not isinstance(entry, dict) or not {"value", "source"} <= entry.keys():
                raise UserError(
                    f"'{path}': write each value of a recipe as key: {{value: …, source: …}}, unlike '{key}'"
                )


def own_key(key: str, method: str, who: str) -> str:
    """``peft.type`` and ``peft.<field>`` by the name they have in the configuration; any other key as it is."""
    if not key.startswith(_PEFT):
        return key
    if method != "peft":
        raise UserError(
            f"{who}'{key}' is for method=peft, and this is method={method}; add method=peft, or drop the key"
        )
    field = key.removeprefix(_PEFT)
    return "method.type" if field == "type" else f"{_OPEN}{field}"


def recipe_values(recipe: Mapping[str, Any], task: str) -> dict[str, Mapping[str, Any]]:
    """``{dotted key: {value, source}}`` of a recipe for ``task``: the common part, then what the task changes."""
    return {**(recipe["common"] or {}), **((recipe["per_task"] or {}).get(task) or {})}


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All dotted keys of ``config`` with their values; an empty mapping counts as a leaf."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found.update(leaves(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _parse(words: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    groups: dict[str, str] = {}
    values: dict[str, Any] = {}
    roots = tuple(registry.roots())
    for word in words:
        key, value = _parse_word(word, roots)
        if key in registry.GROUPS:
            groups[key] = value
        else:
            values[key] = copy.deepcopy(value)
    return groups, values


@functools.lru_cache(maxsize=4096)  # a grid says the same words again and again, and the parser is slow
def _parse_word(word: str, roots: tuple[Path, ...]) -> tuple[str, Any]:
    """Key and value of ``word``; a group's value is a name that it has in ``roots``."""
    override = read_override(word)
    key = override.key_or_group
    if word[0] in "+~":
        raise UserError(f"'{word}': keys are set, never added or removed, so drop the '{word[0]}'{_tail(key)}")
    if override.package is not None:
        raise UserError(f"'{word}': a package (@…) has no place here; write {key}=…")
    if override.is_sweep_override():
        raise UserError(_several(key, word.partition("=")[2]))
    if key in registry.GROUPS:
        return key, registry.check_choice(key, override.get_value_element_as_str().strip("'\""))
    value = override.value()
    if key in _TEXT and isinstance(value, (int, float)):
        value = word.split("=", 1)[1]
    return key, value


def _several(key: str, text: str) -> str:
    """What to say of ``key`` with several values, where there is to be one cell."""
    if isinstance(_known_keys().get(key), list) or key.rpartition(".")[2] in _LISTS:
        return f"'{key}={text}': a list has brackets around it: '{key}=[{text}]'"
    decimal = f"; a decimal has a point: {key}={text.replace(',', '.')}" if re.fullmatch(r"\d+,\d+", text) else ""
    return (
        f"'{key}={text}' has several values, and this is one cell{decimal}; give one of them, or run a cell with each "
        f"by uora-bench sweep {key}={text} (a text with a comma in it needs quotes: {key}='\"a,b\"')"
    )


def read_override(word: str) -> Any:
    """``word`` as Hydra's parser reads it (`hydra.core.override_parser.types.Override`).

    Text outside its grammar is taken as it stands.

    Raises:
        UserError: for a word that is not ``key=value``.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    if word in _known_keys():
        raise UserError(f"'{word}' needs a value: write {word}=…, see --help")
    if "=" not in word:
        raise UserError(
            f"'{word}' is not of the form key=value{nearest(word, _known_keys(), synonyms=synonyms.others())}"
        )
    try:
        return parser.parse_override(word)
    except ValueError as error:  # a number of more digits than Python reads
        raise UserError(f"cannot read '{word[:60]}…': {str(error).split(';')[0]}") from None
    except HydraException as error:
        key, text = word.split("=", 1)
        if text[:1] in "[{\"'" or not key.lstrip("+~"):
            raise UserError(f"cannot read '{word}': {str(error).splitlines()[0]}") from None
        # text outside Hydra's grammar (a path with blanks, train[:80%]) is taken as it stands
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        try:
            return parser.parse_override(f'{key}="{escaped}"')
        except HydraException:
            raise _unknown_key(key, _known_keys()) from None


def _unknown_key(key: str, known: Iterable[str], who: str = "") -> UserError:
    """The error for a ``key`` that is none of those ``known``; ``who`` stands before it."""
    answer = _OF_GRIDS.get(key.partition(".")[0])
    if answer is not None:
        return UserError(f"{who}'{key}' is no key of one cell: {answer}")
    can_be_set = [name for name in known if name not in _LABELS and not name.startswith("recipe.")]
    return UserError(f"{who}unknown key '{key}'{nearest(key.lstrip('-'), can_be_set, synonyms=synonyms.others())}")


def _lacking(key: str, config: Mapping[str, Any], who: str) -> UserError:
    """The error for a ``key`` that ``config`` lacks: another choice of its group may have it."""
    group = key.partition(".")[0]
    if key in _known_keys() and group in registry.GROUPS:
        return UserError(
            f"{who}{group}={config[group]['name']} has no key '{key}'; leave the key out, or choose another {group}"
        )
    return _unknown_key(key, [*registry.GROUPS, *leaves(config)], who)


def _tail(key: str) -> str:
    return "" if key in registry.GROUPS else nearest(key, _known_keys(), synonyms=synonyms.others())


@functools.cache
def _known_keys() -> Mapping[str, Any]:
    """Every key of the default configuration, with its value there."""
    return {**dict.fromkeys(registry.GROUPS), **leaves(group_files.compose_groups({}))}


def _assign(config: dict[str, Any], key: str, value: Any, who: str) -> None:
    node = config
    *parents, last = key.split(".")
    if key.startswith(_OPEN) and isinstance(config["method"].get("fields"), dict):
        if not all((*parents, last)):
            raise UserError(f"{who}'{key}' names no field of PEFT's configuration")
        node = config["method"]["fields"]
        for part in parents[2:]:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node[last] = value
        return
    for i, part in enumerate(parents):
        node = node.get(part)  # type: ignore[assignment]
        if not isinstance(node, dict):
            # a whole optional mapping may be null (task.source.hub): say which one
            if node is None and ".".join(parents[: i + 1]) in leaves(config):
                raise UserError(f"{who}'{key}' cannot be set: '{'.'.join(parents[: i + 1])}' is null")
            raise _lacking(key, config, who)
    if last not in node:
        raise _lacking(key, config, who)
    if isinstance(node[last], str) and isinstance(value, (int, float)):
        value = str(value)  # a name that looks like a number
    node[last] = value
