"""Names to things by convention: a YAML in configs/<group>/ and a module of the same name.

Listing reads file names only, so that ``--help`` needs neither Hydra nor torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from uora_bench.config import plugins
from uora_bench.config.split_parts import split_names
from uora_bench.errors import UserError, nearest

if TYPE_CHECKING:  # help lists names, and their dataclasses are the slower half of its start
    from uora_bench.config.data_source import DataSource
    from uora_bench.config.options import MethodOptions, TaskOptions

T = TypeVar("T")
ANY_MODEL = "hf"  # the backbone that is described by the model itself
GROUPS = ("method", "task", "backbone", "recipe", "trainer", "tracker")
_OPTIONS = "uora_bench.config.options."
_METHODS = {
    "lora": "low_rank.LoRAOptions",
    "lora_fa": "low_rank.LoRAFAOptions",
    "alpha_lora": "low_rank.AlphaLoRAOptions",
    "vera": "vectors.VeRAOptions",
    "uora": "vectors.UORAOptions",
    "tied_lora": "tied.TiedLoRAOptions",
    "bitfit": "baselines.BitFitOptions",
    "full": "baselines.FullOptions",
    "head_only": "baselines.HeadOnlyOptions",
    "peft": "peft.PeftOptions",
}
_TASKS = {
    "text_classification": "tasks.TextClassificationOptions",
    "data_to_text": "tasks.DataToTextOptions",
    "instruct": "tasks.InstructOptions",
    "text_local": "own_rows.LocalTextOptions",
    "text_generate": "own_rows.TextGenerateOptions",
    "prompted": "templates.PromptedOptions",
    "image_classification": "tasks.ImageClassificationOptions",
}


def package_dir() -> Path:
    """The folder of the package itself."""
    return Path(__file__).resolve().parents[1]


def configs_dir() -> Path:
    """The folder of YAML files: inside an installed package, else the checkout's top-level ``configs/``."""
    here = package_dir()
    packaged = here / "configs"
    return packaged if packaged.is_dir() else here.parents[1] / "configs"


def paper_dir() -> Path:
    """The folder of published numbers: inside an installed package, else the checkout's ``results/paper``."""
    here = package_dir()
    packaged = here / "paper"
    return packaged if packaged.is_dir() else here.parents[1] / "results" / "paper"


def envelope_dir() -> Path:
    """The folder of kept repetitions: inside an installed package, else the checkout's ``results/envelope``."""
    here = package_dir()
    packaged = here / "envelope"
    return packaged if packaged.is_dir() else here.parents[1] / "results" / "envelope"


def roots() -> list[Path]:
    """The folders of YAML files: the package's own, then those of the plug-ins in use."""
    return [configs_dir(), *(plugin.configs for plugin in plugins.active() if plugin.configs.is_dir())]


def files(group: str) -> dict[str, Path]:
    """The files of ``group`` by the names that ``group=`` accepts; those that start with ``_`` are building blocks.

    Raises:
        UserError: when two places define a name; both are named.
    """
    found: dict[str, Path] = {}
    for root in roots():
        for path in (root / group).rglob("*.yaml"):
            name = path.relative_to(root / group).with_suffix("").as_posix()
            if path.name.startswith("_"):
                continue
            if name in found:
                raise UserError(
                    f"{group} '{name}' is defined twice: '{found[name]}' and '{path}'; give one another name"
                )
            found[name] = path
    return found


def file_of(group: str, name: str) -> Path | None:
    """The file of ``group=name``; None where there is none."""
    return next((path for root in roots() if (path := root / group / f"{name}.yaml").is_file()), None)


def choices(group: str) -> list[str]:
    """Names that ``group=`` accepts, e.g. ``glue/rte``."""
    return sorted(files(group))


def is_bundled(group: str, name: str) -> bool:
    """Whether ``group=name`` comes with the package; else it is somebody's own, or nothing."""
    return (configs_dir() / group / f"{name}.yaml").is_file()


def check_choice(group: str, name: str) -> str:
    """``name`` itself if ``group`` has it; else one line with the nearest valid name."""
    names = choices(group)
    if group == "backbone" and ("/" in name or name.startswith((".", "~"))) and name not in names:
        key = "path" if Path(name).expanduser().is_dir() else "id"
        raise UserError(
            f"unknown backbone '{name}'; for a model of your own, or of the Hub, write backbone={ANY_MODEL} "
            f"backbone.{key}={name}"
        )
    if name not in names:
        raise UserError(f"unknown {group} '{name}'{plugins.absent(name, names)}{nearest(name, names, limit=20)}")
    return name


def path_of(group: str, name: str) -> Path:
    """The file of ``group=name``; raises `UserError` as `check_choice`."""
    return files(group)[check_choice(group, name)]


def only_subclass(kind: str, name: str, base: type[T]) -> type[T]:
    """The one public sub-class of ``base`` that the module ``name`` of ``kind`` (methods, tasks) defines.

    The module may be the package's own or a plug-in's.

    Raises:
        UserError: a plug-in's file cannot be imported, or defines none or several.
    """
    plugin = plugins.owner(kind, name)
    module = importlib.import_module(f"uora_bench.{kind}.{name}") if plugin is None else plugin.load(kind, name)
    found = [
        v
        for v in vars(module).values()
        if isinstance(v, type)
        and issubclass(v, base)
        and v.__module__ == module.__name__
        and not v.__name__.startswith("_")
    ]
    if len(found) != 1:
        where = module.__file__ if plugin is not None else module.__name__
        raise UserError(f"'{where}' must define exactly one {base.__name__}, it defines {len(found)}")
    return found[0]


def describe_model(values: Mapping[str, Any], kind: str, data_root: str | None) -> dict[str, Any]:
    """What `uora_bench.models.any_model.describe` says of the model that ``values`` name.

    It imports torch for a model that is not known yet: only the model itself can say which modules it has.
    """
    module = importlib.import_module("uora_bench.models.any_model")
    described: dict[str, Any] = module.describe(values, kind, data_root)
    return described


def check_rows(source: DataSource, splits: Mapping[str, str], options: TaskOptions, task: str) -> None:
    """Raise `UserError` for a split (role -> name) of the user's own files that does not exist.

    Also for one that lacks a column which ``options`` of ``task`` name.

    It reads the headers alone.
    """
    module = importlib.import_module("uora_bench.data.own_rows")
    module.check_files(source.files, splits, getattr(options, "wanted_columns", {}), task)


def check_pictures(root: Path, splits: Iterable[str]) -> None:
    """Raise `UserError` where a folder of pictures lacks one of ``splits``; no picture is opened."""
    module = importlib.import_module("uora_bench.data.image_folders")
    for name in split_names(splits):
        module.check_split(root, name)


def method_options(name: str) -> type[MethodOptions]:
    """The dataclass of the options of method ``name``: a built-in one, else the `Config` of the method's own file."""
    from uora_bench.config.options import MethodOptions

    if name in _METHODS:
        return _named(_METHODS[name], MethodOptions)
    return only_subclass("methods", check_choice("method", name), MethodOptions)


def task_options(family: str) -> type[TaskOptions]:
    """The dataclass of the options of a task of ``family``: a built-in one, else the one in the family's own file.

    Raises:
        UserError: when there is no such family.
    """
    from uora_bench.config.options import TaskOptions

    if family in _TASKS:
        return _named(_TASKS[family], TaskOptions)
    return only_subclass("tasks", check_family(family), TaskOptions)


def check_family(family: str) -> str:
    """``family`` itself if a file of ``tasks/``, the package's or a plug-in's, has its name.

    A configuration never names a path to import.

    Raises:
        UserError: when there is no such family.
    """
    names = {path.stem for path in (package_dir() / "tasks").glob("*.py")} - {
        "__init__",
        "base",
        "causal",
        "generation",
        "labels",
        "own_labels",
        "own_rows",
    }
    if family not in names and plugins.owner("tasks", family) is None:
        raise UserError(f"task.family: no family '{family}'{nearest(family, names)}")
    return family


def is_built_in_method(name: str) -> bool:
    """Whether the options of ``name`` are one of the package's dataclasses."""
    return name in _METHODS


def _named(path: str, base: type[T]) -> type[T]:
    module, _, name = path.partition(".")
    found: type[T] = getattr(importlib.import_module(_OPTIONS + module), name)
    assert issubclass(found, base)
    return found
