"""``uora-bench new method|task|backbone|experiment NAME``: a skeleton that runs, in a plug-in of your own."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.config import plugins
from uora_bench.contract import skeletons
from uora_bench.errors import UserError, nearest

# what to type next, by kind; {0}: the name, {1}: plugins= where the folder needs it, {2}: the folder
_NEXT = {
    "method": (
        "uora-bench check {0}{1}",
        "uora-bench method={0} task=tiny/nli trainer.max_steps=60 tracker=none{1}",
        "python -m pytest -q {2}/tests",
    ),
    "task": ("uora-bench check {0}{1}", "uora-bench method=lora task={0} trainer.max_steps=60 tracker=none{1}"),
    "backbone": (
        "uora-bench check {0}{1}",
        "uora-bench method=lora backbone={0} task=tiny/nli trainer.max_steps=60 tracker=none{1}",
    ),
    "experiment": (
        "uora-bench check {0}{1}",
        "uora-bench plan experiment={0}{1}",
        "uora-bench sweep experiment={0}{1}",
        "uora-bench tables experiment={0}{1}",
    ),
}


def _act(given: Given) -> int:
    kind, name = given.names
    if kind not in skeletons.KINDS:
        raise UserError(f"'{kind}' cannot be made here{nearest(kind, skeletons.KINDS)}")
    folder = Path(given.text("into") or plugins.HERE).expanduser()
    written = skeletons.write_skeleton(kind, name, folder, given.passed)
    found = any(plugin.folder == folder.resolve() for plugin in plugins.active())
    naming = "" if found else f" plugins={folder}"
    print("\n".join(["wrote", *(f"  {path}" for path in written), "next"]))
    for line in _NEXT[kind]:
        print(f"  {line.format(name, naming, folder)}")
    return 0


COMMAND = Command(
    "new",
    "write a method, task, backbone or experiment of your own that runs",
    _act,
    words="method|task|backbone|experiment NAME",
    most=2,
    least=2,
    passed=(*keys.CELL, keys.ANY),
    keys=(Key("into", "the plug-in it is written into", plugins.HERE, shown="<folder>"),),
    about=(
        "Writes a skeleton that runs, with marks where to change it; a method comes with a recipe and a test, an "
        "experiment with the grid that it is given, as uora-bench sweep takes it. Nothing is written over. "
        "./uora_plugins is in use by itself; another folder is named with plugins=.",
    ),
    examples=(
        "new method my_lora",
        "new task mine/reviews into=<folder>",
        "new experiment my_grid method=lora,uora task=glue/rte",
    ),
)
