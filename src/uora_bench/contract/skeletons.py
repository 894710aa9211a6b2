"""New methods, tasks, backbones and experiments: the files of ``templates/<kind>/``, filled in and written once.

No torch in here. A template's path is the path in the plug-in, with NAME in the place of the name.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.errors import UserError, nearest
from uora_bench.util import atomic

TEMPLATES = Path(__file__).with_name("templates")
KINDS = ("method", "task", "backbone", "experiment")
# what belongs to the command that runs a grid
_NOT_IN_A_GRID = ("experiment_name", "results.dir", "runs.dir", "data.root", "force", "dry_run", "init_from")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VALUES = {"null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf"}  # not text, in YAML or to Hydra


def check_name(kind: str, name: str) -> None:
    """Raise `UserError` unless ``name`` can be that of a new ``kind``: small letters, digits and _, and not taken.

    A task may have a folder before it (``mine/reviews``).
    """
    parts = name.split("/") if kind == "task" else [name]
    for part in parts:
        if not _NAME.fullmatch(part) or keyword.iskeyword(part) or part in _VALUES:
            wanted = f"my_{'_'.join(re.findall(r'[a-z0-9]+', part.lower()))}".replace("my_my_", "my_")
            raise UserError(f"'{part}' cannot be a name; write small letters, digits and _, as {wanted}")
    if len(parts) > 2:
        raise UserError(f"'{name}': a task's name is one word, or a folder and a word (mine/reviews)")
    known = registry.files(kind)
    near = next((one for one in known if _plain(one) == _plain(name)), None)
    if near is not None:
        same = "there is one already" if near == name else f"it would be taken for '{near}'"
        last = name.split("/")[-1]
        other = f"{last}_2" if last.startswith("my_") else f"my_{last}"
        raise UserError(f"{kind} '{name}': {same} ('{known[near]}'); choose another name, as {other}")
    if kind == "method" and (registry.package_dir() / "methods" / f"{name}.py").exists():
        raise UserError(f"method '{name}': the package has a module of that name; choose another, as my_{name}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _grid(overrides: Sequence[str]) -> dict[str, Any]:
    """What the template of an experiment is filled with: its axes, and what is set in every cell, as YAML."""
    from uora_bench.grid import expand, preset, request

    axes: dict[str, list[Any]] = {"method": ["lora", "head_only"], "task": ["tiny/nli"], "seed": [0, 1, 2]}
    fixed: dict[str, Any] = {} if overrides else {"trainer.epochs": 4}
    given = request.read_request(list(overrides))
    outside = [key for key in _NOT_IN_A_GRID if key in given.axes] + [f"launcher.{key}" for key in given.options]
    outside += ["experiment"] if given.experiment is not None else []
    outside += ["launcher"] if given.launcher != "print" else []
    if outside:
        raise UserError(f"{outside[0]} is given to uora-bench sweep, and no part of an experiment's file")
    for key, values in given.axes.items():
        found = [preset.read_value(key, value) for value in values]
        found = [str(value) if isinstance(value, str) else value for value in found]
        if key in axes or len(found) > 1:
            axes[key] = found
        else:
            fixed[key] = found[0]
    fixed.setdefault("tracker", "none")
    words = [request.word(key, value) for key, value in fixed.items()]
    words += [f"{key}={','.join(str(request.word('', value))[1:] for value in values)}" for key, values in axes.items()]
    expand.expand(words)  # says what is wrong with it
    methods, tasks = (", ".join(map(str, axes[key])) for key in ("method", "task"))
    rows = [{"label": str(one), "when": {"method": one}} for one in axes["method"]]
    return {
        "axes": [(key, _flow(values)) for key, values in axes.items()],
        "fixed": [(key, _flow(value)) for key, value in fixed.items()],
        "about": json.dumps(f"{methods} on {tasks}", ensure_ascii=False),
        "columns": [_flow({"task": one, "label": str(one).removeprefix("glue/")}) for one in axes["task"]],
        "rows": [_flow(row) for row in rows] if len(axes) == 3 else [],  # else a row is more than its method
    }


def _flow(value: Any) -> str:
    """``value`` as YAML in one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def write_skeleton(kind: str, name: str, folder: Path, overrides: Sequence[str] = ()) -> list[Path]:
    """Write the files of a new ``kind`` called ``name`` into the plug-in ``folder``; returns their paths.

    ``overrides``: the grid of a new experiment, as `uora-bench sweep` takes it.

    Raises:
        UserError: for a name that cannot be, overrides that are no grid, or a file that is there already: then nothing
            is written.
    """
    import jinja2

    check_name(kind, name)
    if overrides and kind != "experiment":
        near = nearest(overrides[0].partition("=")[0], ["into"])
        raise UserError(f"new {kind} takes no '{overrides[0]}'{near}; a grid is what new experiment NAME is given")
    more = _grid(overrides) if kind == "experiment" else {}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    title = "".join(part.capitalize() for part in name.split("_"))
    texts: dict[Path, str] = {}
    for template in sorted((TEMPLATES / kind).rglob("*.j2")):
        inside = template.relative_to(TEMPLATES / kind).with_suffix("").as_posix()
        filled = environment.from_string(template.read_text(encoding="utf-8")).render(name=name, title=title, **more)
        texts[folder / inside.replace("NAME", name)] = filled
    for path in texts:
        if path.exists():
            raise UserError(f"'{path}' is there already, and nothing is written over; choose another name, or into=")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
    return list(texts)
