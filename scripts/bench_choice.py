"""One adapted layer in bfloat16, forward and backward: what `method.forward=auto` chooses, against the best.

The paths that keep a small update (fused and delta_weight) take turns at shapes, batches and ranks around the point
where the choice changes. A number is the median processor time of this process on one thread beyond that of the same
frozen layer. `--out` keeps the result.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benches

WIDTHS = (384, 768)
TOKENS = (512, 2048)
RANKS = (8, 64, 256, 512, 1024)


def compared(width: int, tokens: int, rank: int, trained: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of a (width × width) layer: frozen, and what each path adds; and which one auto takes."""
    import torch

    from uora_bench.methods.forward_paths import Term, choose_path, fused_linear, weight_linear

    torch.manual_seed(0)
    x, g = torch.randn(tokens, width), torch.randn(tokens, width).bfloat16()
    weight, bias = torch.randn(width, width) * 0.02, torch.zeros(width)
    learns = trained == "matrices"
    A, B = (torch.randn(size).mul_(0.03).requires_grad_(learns) for size in ((rank, width), (width, rank)))
    u, v = (None, None) if learns else (torch.ones(n).requires_grad_() for n in (rank, width))
    terms = [Term(0, width, A, B, u, v)]
    paths: dict[str, Callable[[Any], Any]] = {
        "frozen": lambda x: torch.nn.functional.linear(x, weight, bias),
        "fused": lambda x: fused_linear(x, weight, bias, terms, weight.bfloat16()),
        "delta_weight": lambda x: weight_linear(x, weight, bias, terms, separate=True),
    }

    def step(path: Callable[[Any], Any]) -> float:
        given = x.clone().requires_grad_()
        begun = time.thread_time()
        with torch.autocast("cpu", torch.bfloat16):
            y = path(given)
        y.backward(g)
        taken = time.thread_time() - begun
        for tensor in terms[0].tensors:
            if tensor is not None:
                tensor.grad = None
        return taken

    turns = benches.in_turns({name: lambda _, p=path: step(p) for name, path in paths.items()}, rounds, warm_up=2)
    taken = {name: 1e3 * statistics.median(own) for name, own in turns.items()}
    chosen = choose_path(tokens, width, torch.bfloat16, torch.float32, terms)
    extra = {name: round(taken[name] - taken["frozen"], 3) for name in ("fused", "delta_weight")}
    return {
        "width": width, "tokens": tokens, "rank": rank, "trained": trained, "frozen": round(taken["frozen"], 3),
        **extra, "auto": chosen, "lost": round(extra[chosen] - min(extra.values()), 3),
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    found = []
    for trained, ranks in (("matrices", (8, 64, 256)), ("vectors", RANKS)):
        for width in WIDTHS:
            for tokens in TOKENS:
                for rank in ranks:
                    one = compared(width, tokens, rank, trained, given.rounds)
                    found.append(one)
                    print("  ".join(f"{key} {value}" for key, value in one.items()), flush=True)
    benches.write_result(given.out, setting={"rounds": given.rounds, "threads": 1}, layers=found)


if __name__ == "__main__":
    main()
