"""New methods, tasks, backbones and experiments: the files of ``templates/<kind>/``, filled in and written once.

No torch in here. A template's path is the path in the plug-in, with NAME in the place of the name.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.util import atomic

TEMPLATES = Path(__file__).with_name("templates")
KINDS = ("method", "task", "backbone", "experiment")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VALUES = {"null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf"}  # not text, in YAML or to Hydra


def check_name(kind: str, name: str) -> None:
    """Raise `UserError` unless ``name`` can be that of a new ``kind``: small letters, digits and _, and not taken. A
    task may have a folder before it (``mine/reviews``)."""
    parts = name.split("/") if kind == "task" else [name]
    for part in parts:
        if not _NAME.fullmatch(part) or keyword.iskeyword(part) or part in _VALUES:
            wanted = "_".join(["my", *re.findall(r"[a-z0-9]+", part.lower())])
            raise UserError(f"'{part}' cannot be a name; write small letters, digits and _, as {wanted}")
    if len(parts) > 2:
        raise UserError(f"'{name}': a task's name is one word, or a folder and a word (mine/reviews)")
    known = registry.files(kind)
    near = next((one for one in known if _plain(one) == _plain(name)), None)
    if near is not None:
        same = "there is one already" if near == name else f"it would be taken for '{near}'"
        raise UserError(f"{kind} '{name}': {same} ('{known[near]}'); choose another name, as my_{name.split('/')[-1]}")
    if kind == "method" and (registry.package_dir() / "methods" / f"{name}.py").exists():
        raise UserError(f"method '{name}': the package has a module of that name; choose another, as my_{name}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def write_skeleton(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the files of a new ``kind`` called ``name`` into the plug-in ``folder``; returns their paths.

    Raises:
        UserError: for a name that cannot be, or a file that is there already: then nothing is written.
    """
    import jinja2

    check_name(kind, name)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    title = "".join(part.capitalize() for part in name.split("_"))
    texts: dict[Path, str] = {}
    for template in sorted((TEMPLATES / kind).rglob("*.j2")):
        inside = template.relative_to(TEMPLATES / kind).with_suffix("").as_posix()
        filled = environment.from_string(template.read_text(encoding="utf-8")).render(name=name, title=title)
        texts[folder / inside.replace("NAME", name)] = filled
    for path in texts:
        if path.exists():
            raise UserError(f"'{path}' is there already, and nothing is written over; choose another name, or into=")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
    return list(texts)
