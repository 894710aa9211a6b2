"""Tasks, backbones and experiments, tried: composed, checked, described, and trained for two steps of a small cell.

Nothing is downloaded. What only a download could try is left out, and said to be.
"""

from __future__ import annotations

import io
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from uora_bench.config.cell import Cell, Settings
from uora_bench.config.compose import Composed, compose
from uora_bench.config.groups import compose_groups
from uora_bench.config.preflight import preflight
from uora_bench.contract.check import Finding, reason_of
from uora_bench.data import offline
from uora_bench.data.prefetch import needs
from uora_bench.errors import UserError
from uora_bench.execution.dry_run import describe
from uora_bench.execution.run import run_cell
from uora_bench.grid.expand import expand
from uora_bench.util.signals import StopRequest
from uora_bench.util.words import count

TINY = {"encoder": "tiny/nli", "causal_lm": "tiny/restaurants", "vision": "tiny/digits"}  # kind of backbone -> task
_ROWS = {"train": 256, "dev": 64}  # of a small cell
_LABEL = re.compile(r"parameters: (.*)")


def check_task(name: str, words: Sequence[str]) -> Iterator[Finding]:
    """Try task ``name`` with LoRA on its own backbone; ``words`` are more of the command line."""
    return _check_cell([f"task={name}", "method=lora", *words])


def check_backbone(name: str, words: Sequence[str]) -> Iterator[Finding]:
    """Try backbone ``name`` with LoRA on the generated task of its kind; ``words`` are more of the command line."""
    try:
        task = TINY.get(compose_groups({"backbone": name})["backbone"].get("kind"), TINY["encoder"])
    except UserError as error:
        return iter([Finding("composes", "failed", str(error))])
    return _check_cell([f"backbone={name}", f"task={task}", "method=lora", *words])


def check_experiment(name: str, words: Sequence[str]) -> Iterator[Finding]:
    """Try every cell of experiment ``name`` as a configuration, each method × backbone as a model, and train one.

    ``words`` are more of the command line.
    """
    try:
        items = expand([f"experiment={name}", *words]).items
        planned = [(i, i.cell, i.settings) for i in items if i.cell is not None and i.settings is not None]
        shown = [count(len(planned), "cell"), *dict.fromkeys(f"left out: {i.reason}" for i in items if i.cell is None)]
        yield Finding("composes", "ok", "; ".join(shown))
        for cell in {str((c.method, c.task, c.backbone, c.trainer)): c for _, c, _ in planned}.values():
            preflight(cell)
        yield Finding("preflight", "ok", "every cell")
        pairs = {(c.method.name, c.backbone.name): (list(i.overrides), c, s) for i, c, s in reversed(planned)}
        for given, cell, settings in reversed(pairs.values()):
            yield _described(compose(given), absent(cell, settings))
        here = [list(i.overrides) for i, c, s in planned if not absent(c, s) and i.after is None]
        if here:
            yield _trained(here[0], compose(here[0]).cell)
        else:
            yield _left_out("trains", absent(*planned[0][1:]))
    except Exception as error:  # noqa: BLE001 - a broken plug-in may raise anything
        yield Finding("every cell", "failed", reason_of(error))


def absent(cell: Cell, settings: Settings) -> list[str]:
    """What ``cell`` needs of the Hub and is not on this machine, in words; empty: nothing."""
    root = Path(settings.data_root) if settings.data_root else None
    rows = [n for n in needs.rows_of(cell) if n.source.hub is not None and (root is None or n.file(root) is None)]
    models = [n for n in needs.models_of(cell) if not _has_model(n, root)]
    return list(dict.fromkeys(map(str, [*rows, *models])))


def _has_model(need: needs.Model | needs.ConvertedModel, root: Path | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    if isinstance(need, needs.ConvertedModel):
        return not need.problems(offline.Manifest.read(root or Path())) or offline.converted(need.name) is not None
    if root is not None and not offline.lacking(need.repo, need.revision, root):
        return True
    return isinstance(try_to_load_from_cache(need.repo, "config.json", revision=need.revision), str)


def _check_cell(words: list[str]) -> Iterator[Finding]:
    step = "composes"
    try:
        composed = compose(words)
        cell = composed.cell
        yield Finding(step, "ok", cell.label)
        step = "preflight"
        preflight(cell)
        yield Finding(step, "ok", "pair, target modules, splits, metric, libraries")
        step = "dry run"
        missing = absent(cell, composed.settings)
        yield _described(composed, missing)
        step = "trains"
        yield _left_out(step, missing) if missing else _trained(words, cell)
    except Exception as error:  # noqa: BLE001 - a broken plug-in may raise anything
        yield Finding(step, "failed", reason_of(error))


def _left_out(step: str, missing: list[str]) -> Finding:
    return Finding(step, "left out", f"needs {', '.join(missing)}; nothing is downloaded here")


def _described(composed: Composed, missing: list[str]) -> Finding:
    """``dry_run=true`` of a cell."""
    cell = composed.cell
    name = "dry run"
    if cell.backbone.architecture is None and any(need.startswith("model ") for need in missing):
        return _left_out(name, missing)
    found = _LABEL.search(describe(composed))
    return Finding(name, "ok", f"{cell.label}: {found[1] if found else 'no parameters'}")


def _trained(words: list[str], cell: Cell) -> Finding:
    """Two steps on a few rows, in a folder that goes again."""
    whole = {r: s for r, s in cell.task.to_load.items() if r in _ROWS and s.isidentifier()}
    # so many rows of each class, or classes that are found in the rows, or splits that are drawn: a part may lack some
    if getattr(cell.task.options, "per_class", None) is not None or cell.task.source.files is not None:
        whole = {}
    small = [f"task.splits.{role}={split}[:{_ROWS[role]}]" for role, split in whole.items()]
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()) as said,
    ):
        places = [f"results.dir={folder}/results", f"runs.dir={folder}/runs", "experiment_name=check"]
        short = ["trainer.max_steps=2", "task.splits.test=null", "tracker=none"]
        started = time.perf_counter()
        given = [*words, *small, *short, *places]
        code = run_cell(compose(given), given, StopRequest()).code
        seconds = time.perf_counter() - started
    if code:
        return Finding("trains", "failed", said.getvalue().strip().rpartition("\n")[2])
    return Finding("trains", "ok", f"two steps, scores, merges and leaves a record: {cell.label} in {seconds:.0f} s")
