"""``uora-bench export <cell_id | run folder> format=…``: a finished cell for other libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import UserError


def _act(given: Given) -> int:
    from uora_bench.export import formats, request, source
    from uora_bench.util.signals import StopRequest

    kind = given.text("format")
    if kind is None:
        raise UserError("say what to write: format=peft, format=merged or format=native")
    wanted = request.ExportRequest(
        format=kind,
        shape=given.text("as"),
        weights=given.text("weights") or "last",
        dtype=given.text("dtype"),
        backbone=given.text("backbone.path"),
        results=given.text("results.dir"),
        force=given.flag("force"),
    )
    StopRequest().install()
    folder = source.find_run(given.names[0], given.text("runs.dir") or "runs", given.text("experiment"))
    output = given.text("output")
    print(formats.export(folder, wanted, Path(output) if output else None), flush=True)
    return 0


COMMAND = Command(
    "export",
    "a finished cell as a PEFT adapter, a plain model, or a folder",
    _act,
    "nothing was written",
    words="<cell_id | run folder>",
    least=1,
    most=1,
    keys=(
        Key("format", "what to write, see above", choices=("peft", "merged", "native")),
        Key("as", "shape of the PEFT adapter (default: lora)", choices=("lora", "vera")),
        Key("weights", "of the last epoch, or of the one that dev chose", "last", ("last", "best")),
        Key("dtype", "widen a half-precision backbone first (format=merged)", choices=("float32",)),
        Key("output", "where to (default: exports/<cell_id>/<format>)", shown="<folder>", others=("output_dir",)),
        replace(keys.FORCE, help="replace an existing export"),
        keys.OF_CELL,
        replace(keys.RUNS, help="where a cell_id is looked up"),
        keys.RUN_RESULTS,
        keys.BACKBONE,
    ),
    about=(
        "format=peft: a LoRA adapter of scale 1 with the task head, as PEFT writes it (as=vera: PEFT's VeRA, where it "
        "fits). format=merged: a plain transformers model, W + ΔW, head and tokenizer. format=native: adapter, head "
        "and configuration, for uora_bench.export.load_model.",
        "Every export is loaded again and its logits compared with the run's before it is put in place. See "
        "docs/export.md.",
    ),
    examples=("export runs/mrpc/*/ format=peft output=mrpc-adapter", "export 0123456789abcdef format=merged"),
    codes={1: "the check failed (nothing is left)"},
    prints=False,
)
