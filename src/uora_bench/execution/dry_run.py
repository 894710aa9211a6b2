"""``dry_run=true``: what a cell would train, without loading a weight."""

from __future__ import annotations

from typing import Any

from uora_bench.config import registry
from uora_bench.config.cell import Cell
from uora_bench.config.compose import COMMAND_LINE, Composed, leaves
from uora_bench.config.preflight import check_places, preflight
from uora_bench.execution.artifacts import warm_start_file
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import Target, find_among, find_targets, overlap
from uora_bench.records.record import Counts


def describe(composed: Composed) -> str:
    """The resolved recipe with the source of every value, the target modules, and exact parameter counts."""
    cell = composed.cell
    preflight(cell)
    check_places(composed.settings, composed.cell.task)
    warm_start_file(composed.settings, cell.method)
    from uora_bench.tasks import create_task

    task = create_task(cell.task)
    head, unknown = task.planned_head()
    targets, counts = closed_form(cell, head) or counted(cell, head)
    shapes = sorted({(t.shape.kind, t.shape.in_features, t.shape.out_features) for t in targets})
    lines = [
        cell.label,
        f"recipe {cell.recipe.name} ({cell.recipe.status}): {' '.join(cell.recipe.note.split())}",
        "",
        *_table(composed),
        "",
    ]
    lines += [f"[{label}] {' '.join(text.split())}" for label, text in composed.legend.items()]
    lines += ["", f"targets: {len(targets)} in {len({t.shape.layer for t in targets})} blocks"]
    for kind, in_features, out_features in shapes:
        paths = [t.path for t in targets if t.shape.kind == kind]
        lines.append(f"  {kind}: {in_features} -> {out_features}, {len(paths)} x, {paths[0]} … {paths[-1]}")
    if cell.backbone.head:
        lines.append(f"head: {cell.backbone.described_head}")
    lines += [
        "",
        f"parameters: adapter {counts.adapter:,} · head {counts.head:,} · total {counts.total:,}",
        *([unknown] if unknown else []),
        f"metric: {task.metric.primary} on {task.split_name('dev')} (the dev set)"
        + (f", {task.split_name('test')} (the test set)" if "test" in task.roles else "; no labelled test set is used"),
    ]
    if cell.holdout:
        use = "trains the auxiliary step" if cell.method.needs_holdout else "is not used"
        stays = "stays in it too" if cell.method.holdout_stays else "leaves it"
        lines.append(f"held out: {cell.holdout:g} of {cell.task.splits.train}, which {stays} and {use}")
    return "\n".join(lines)


def closed_form(cell: Cell, head: HeadSpec) -> tuple[list[Target], Counts] | None:
    """The targets and counts of a built-in method on a model that was built before, without torch.

    None where only the model tells, or says what is wrong.
    """
    from uora_bench.models.outline import known_outline

    outline = known_outline(cell.backbone, head) if registry.is_built_in_method(cell.method.name) else None
    if outline is None:
        return None
    targets = find_among(outline.modules, cell.backbone, cell.method.adapts)
    backbone, own = outline.split(cell.backbone.head)
    shapes = [t.shape for t in targets]
    adapter, added = cell.method.count(shapes, backbone), cell.method.added(shapes, backbone)
    if adapter is None or added is None or not adapter + own or overlap(targets):
        return None
    return targets, Counts(adapter=adapter, head=own, total=sum(outline.sizes.values()) + added)


def counted(cell: Cell, head: HeadSpec) -> tuple[list[Target], Counts]:
    """The same, read off the model without weights."""
    from uora_bench.methods import create_method
    from uora_bench.models import backbones, outline
    from uora_bench.training.inject import inject

    model = backbones.skeleton(cell.backbone, head)
    outline.keep_outline(cell.backbone, head, model)
    targets = find_targets(model, cell.backbone, cell.method.adapts)
    return targets, inject(cell, model, create_method(cell.method, cell.seed))[1]


def _table(composed: Composed) -> list[str]:
    rows: list[tuple[str, str, str]] = []
    shown = {g: composed.values[g] for g in ("method", "task", "trainer")}
    backbone = {k: v for k, v in composed.values["backbone"].items() if k in ("dtype", "quantisation")}
    for key, value in leaves({**shown, "backbone": backbone}).items():
        if key.split(".")[1] in ("name", "version", "family", "kind", "source", "metric"):
            continue
        rows.append((key, _show(value), composed.sources.get(key, "default")))
    key_width, value_width = (max(len(r[i]) for r in rows) for i in (0, 1))
    return [
        f"  {k:<{key_width}}  {v:<{value_width}}  {s if s in ('default', COMMAND_LINE) else f'[{s}]'}"
        for k, v, s in rows
    ]


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_show(v) for v in value) + "]"
    return str(value)
