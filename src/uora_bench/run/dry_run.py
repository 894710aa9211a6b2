"""``dry_run=true``: what a cell would train, without loading a weight."""

from __future__ import annotations

from typing import Any

from uora_bench.config import registry
from uora_bench.config.cell import Cell
from uora_bench.config.compose import COMMAND_LINE, Composed, leaves


def describe(cell: Cell, composed: Composed) -> str:
    """The resolved recipe with the source of every value, the target modules, and exact parameter counts."""

    from uora_bench.models import backbones, quantisation
    from uora_bench.run.fitting import inject
    from uora_bench.run.run import check_holdout, check_metric_file, check_packing
    from uora_bench.training import sharding

    method = registry.method_class(cell.method.name)(cell.method.options, cell.seed)
    check_holdout(cell, method)
    quantisation.check_method(cell.backbone, method)
    sharding.check(cell, method)
    task = registry.task_class(cell.task.family)(cell.task)
    check_packing(method, task)
    check_metric_file(cell)
    model = backbones.skeleton(cell.backbone, task.head)
    targets = backbones.targets(model, cell.backbone, method.target_modules)
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
    method_for_meta = registry.method_class(cell.method.name)(cell.method.options, cell.seed)
    _, counts = inject(cell, model, method_for_meta)
    lines += [
        "",
        f"parameters: adapter {counts.adapter:,} · head {counts.head:,} · total {counts.total:,}",
        f"metric: {cell.task.metric.primary} on {cell.task.splits.dev} (the dev set)"
        + (f", {cell.task.splits.test} (the test set)" if cell.task.splits.test else "; no labelled test set is used"),
    ]
    if cell.holdout:
        use = "trains the auxiliary step" if method.needs_holdout else "is not used"
        stays = "stays in it too" if method.holdout_stays else "leaves it"
        lines.append(f"held out: {cell.holdout:g} of {cell.task.splits.train}, which {stays} and {use}")
    return "\n".join(lines)


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
