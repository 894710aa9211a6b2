"""What a theory command prints: the plan of a dry run, a few numbers of each record, and what became of the cells."""

from __future__ import annotations

import json

from uora_bench.theory import presets
from uora_bench.theory import record as records
from uora_bench.theory.parameters import VERSIONS
from uora_bench.theory.record import TheoryRecord
from uora_bench.theory.request import TheoryRequest
from uora_bench.theory.run import Outcome
from uora_bench.util.schema import plain
from uora_bench.util.words import count

_SHOWN = 8  # values of x for which a line is printed


def plan(request: TheoryRequest) -> list[str]:
    """What would run, with the values and where they come from."""
    preset = request.preset
    lines = [preset.title, f"  source: {preset.source}", f"  kind {preset.kind}, version {VERSIONS[preset.kind]}"]
    for cell in request.cells:
        cell_id = cell.cell_id(records.fingerprint(request.sources(cell)))
        known = records.find_record(request.folder, cell_id)
        state = "to do" if known is None else known.status
        values = " ".join(f"{k}={_text(v)}" for k, v in plain(cell.parameters).items() if v is not None)
        lines.append(f"  [{cell_id}] {cell.label} · seed {cell.seed} · {cell.repetitions} repetitions: {state}")
        lines.append(f"    {values}")
    return [*lines, f"{count(len(request.cells), 'cell')}; records in {request.folder}"]


def lines(record: TheoryRecord, variant: str) -> list[str]:
    """The head of a record, and theory (of ``variant``) and simulation at a few x."""
    results = record.results
    assert results is not None
    if "target_only" in results.measured:
        return [_transfer(record, variant)]
    own = {k: v for k, v in {**results.special, **results.facts}.items() if v is not None}
    shown = [f"{k.removeprefix(f'{variant}.')} {v:.4g}" for k, v in own.items() if _is_of(k, variant)]
    found = [f"{record.label} [{record.cell_id}]" + (f": {', '.join(shown)}" if shown else "")]
    theory = results.theory.get(variant) or results.theory.get("corrected") or {}
    quantity = next(iter([*results.simulated, *theory]), None)
    if quantity is None or not results.x:
        return found
    step = max(1, (len(results.x) - 1) // (_SHOWN - 1)) if len(results.x) > 1 else 1
    special = {round(v, 12) for v in results.special.values()}
    for i, x in enumerate(results.x):
        if i % step and round(x, 12) not in special:
            continue
        parts = [f"{results.axis} {x:g}:" if results.axis else f"{quantity}:"]
        if quantity in theory:
            parts.append(f"theory {_number(theory[quantity][i])}")
        measured = results.simulated.get(quantity)
        if measured is not None and measured.mean[i] is not None:
            parts.append(f"simulated {_number(measured.mean[i])} ± {_number(measured.error[i])}")
        found.append(f"  {quantity} at {' '.join(parts)}")
    return found


def _transfer(record: TheoryRecord, variant: str) -> str:
    """One line for a transfer between data sets."""
    results = record.results
    assert results is not None
    star = results.special.get(f"{variant}.optimal_alpha")
    names = {"target_only": "α=0", "plain": "α=1", variant: f"α*={_number(star)}", "source_only": "source alone"}
    parts = [
        f"{words} {_number(found.mean[0])} ± {_number(found.error[0])}"
        for name, words in names.items()
        if (found := results.measured.get(name)) is not None
    ]
    best = f"best {_number(results.facts.get('best'))} at α={_number(results.facts.get('best_alpha'))}"
    return f"{record.label} [{record.cell_id}]: accuracy {'; '.join(parts)}; {best}"


def summary(request: TheoryRequest, outcome: Outcome) -> str:
    """One line with what became of the cells."""
    parts = [f"{outcome.computed} computed", f"{outcome.found} already done"]
    parts += [f"{outcome.failed} failed"] if outcome.failed else []
    parts += [f"{outcome.busy} run by another process"] if outcome.busy else []
    again = " (force=true reruns)" if outcome.found and not outcome.computed else ""
    cells = count(len(request.cells), "cell")
    line = f"{request.preset.name}: {', '.join(parts)} of {cells}{again}; records in {request.folder}"
    own = {presets.key_of(cell.canonical()) for cell in presets.expand(request.preset)}
    if request.experiment == f"{presets.PREFIX}{request.preset.name}" and any(
        presets.key_of(cell.canonical()) not in own for cell in request.cells
    ):
        line += (
            "\n  of other settings than the preset's, so in no table; experiment_name=theory_mine gives them their own"
        )
    return line


def _is_of(name: str, variant: str) -> bool:
    prefix, _, rest = name.partition(".")
    return not rest or prefix == variant


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.5g}"


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
