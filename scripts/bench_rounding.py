"""What composing W0 + ΔW in bfloat16 costs in accuracy: the reason why `method.forward=auto` does not do it there.

Two measurements, for the kernels plain, merged (W0 + ΔW is rounded) and separate (ΔW is rounded on its own). One layer,
against float64, for updates from large to small: the error of the output, and the error of the update's part relative
to that part, before the rounding of the output that all share. A real task: the same cells (MRPC, MiniLM, bfloat16)
with each kernel, seed by seed: losses and dev scores of each epoch. --out keeps the numbers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import benches

from uora_bench.records.record import read_record

ROOT = Path(__file__).resolve().parents[1]
WIDTH, TOKENS, RANK = 768, 512, 8
SIZES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)  # |ΔW| / |W0|, Frobenius


def one_layer() -> list[dict[str, float]]:
    """Per size of the update: relative errors of the output and of the update's part of it, all in bfloat16."""
    import torch

    from uora_bench.methods.forward_paths import Term, weight_linear

    torch.manual_seed(0)
    weight = torch.randn(WIDTH, WIDTH) * 0.02
    x = torch.randn(TOKENS, WIDTH)
    A, B = torch.randn(RANK, WIDTH), torch.randn(WIDTH, RANK)
    delta = B @ A
    found = []
    for size in SIZES:
        scale = size * (weight.norm() / delta.norm()).item()
        term = Term(0, WIDTH, A, B, scale=scale)
        part = (x.double() @ delta.double().T) * scale
        whole = x.double() @ weight.double().T + part
        with torch.autocast("cpu", torch.bfloat16):
            merged = weight_linear(x, weight, None, [term])
            separate = weight_linear(x, weight, None, [term], separate=True)
            frozen = torch.nn.functional.linear(x, weight)
            update = scale * torch.nn.functional.linear(torch.nn.functional.linear(x, A), B)
            plain = frozen + update
            # what a W rounded to bfloat16 holds of ΔW, without the rounding of the output, which both share
            kept = (weight + scale * delta).bfloat16().double() - weight.bfloat16().double()
            own = (scale * (B.bfloat16() @ A.bfloat16())).double()
        held = x.double() @ kept.T
        found.append(
            {
                "size": size,
                "factored_output": ((plain.double() - whole).norm() / whole.norm()).item(),
                "merged_weight_output": ((merged.double() - whole).norm() / whole.norm()).item(),
                "delta_weight_output": ((separate.double() - whole).norm() / whole.norm()).item(),
                "factored_update": ((update.double() - part).norm() / part.norm()).item(),
                "merged_weight_update": ((held - part).norm() / part.norm()).item(),
                "delta_weight_update": ((x.double() @ own.T - part).norm() / part.norm()).item(),
            }
        )
    return found


def cell(method: str, kernel: str, seed: int, data: Path) -> dict[str, Any]:
    """The epochs of one cell."""
    words = [f"method={method}", "task=glue/mrpc", "backbone=minilm", f"method.forward={kernel}", f"seed={seed}"]
    words += ["trainer.precision=bfloat16", "tracker=none", f"data.root={data}"]
    with tempfile.TemporaryDirectory() as folder:
        words += [f"results.dir={folder}", f"runs.dir={folder}/runs", "experiment_name=rounding"]
        subprocess.run([sys.executable, "-m", "uora_bench", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (path,) = (Path(folder) / "records" / "rounding").glob("*.json")
        record = read_record(path)
    return {
        "method": method,
        "forward": kernel,
        "seed": seed,
        "ran": record.provenance.forward,
        "train_loss": [epoch.train_loss for epoch in record.epochs],
        "dev_accuracy": [epoch.scores["dev"]["accuracy"] for epoch in record.epochs],
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("UORA_DATA_DIR"), help="GLUE files; none: no cells")
    parser.add_argument("--methods", nargs="+", default=["lora", "vera"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    layer = one_layer()
    print(f"{'|ΔW|/|W0|':<10}" + "".join(f"{name:>17}" for name in list(layer[0])[1:]))
    for row in layer:
        print(f"{row['size']:<10.0e}" + "".join(f"{value:>17.2e}" for value in list(row.values())[1:]))
    cells = []
    if given.data is not None:
        for method in given.methods:
            for seed in given.seeds:
                for kernel in ("factored", "merged_weight", "delta_weight"):
                    one = cell(method, kernel, seed, Path(given.data).resolve())
                    cells.append(one)
                    losses = " ".join(f"{value:.4f}" for value in one["train_loss"])
                    scores = " ".join(f"{100 * value:.2f}" for value in one["dev_accuracy"])
                    print(f"{method} {kernel} seed {seed}: loss {losses}; dev {scores}", flush=True)
    benches.write_result(given.out, layer=layer, cells=cells)


if __name__ == "__main__":
    main()
