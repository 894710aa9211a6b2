"""One training step of a language model on the CPU (SmolLM2-135M's architecture, LoRA on q, k and v): the library's
passes against `trainer.cpu_ops=auto`. With `evaluate` a pass of an evaluation, which has no gradient, instead: there
the library makes the logits of every token and takes its own loss, the suite those that have a target.

The two take turns in one process, in a new order every round, on the same adapter and batch; a ratio is of their times
in one round, printed as median and range, once of wall-clock and once of processor time, which other work on the
machine disturbs less. Peak memory is measured apart, a process per case: model and two steps. Weights are random:
nothing here depends on their values, and none is downloaded. `--out` keeps the result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import benches

CASES = ("library", "auto")
BACKBONES = ("smollm2_135m", "gpt2_medium")


def make(case: str, name: str) -> Any:
    """The model of a case, with its adapter."""
    import torch
    import transformers

    from uora_bench.contract.models import backbone_config, make_method
    from uora_bench.models.targets import find_targets
    from uora_bench.training import cpu_ops

    torch.manual_seed(0)
    backbone = backbone_config(name)
    model: Any = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**(backbone.architecture or {}))
    )
    targets = find_targets(model, backbone, ("q", "k", "v"))
    make_method("lora", rank=8).inject(model, targets, torch.Generator().manual_seed(0))
    if case == "auto":
        cpu_ops.install(model)
    return model


def make_for(case: str, given: argparse.Namespace) -> Any:
    """`make`, in the mode that is measured."""
    return make(case, given.backbone).train(not given.evaluate)


def batch(given: argparse.Namespace) -> dict[str, Any]:
    """Tokens, the first ``prompt`` of every row without a target."""
    import torch

    ids = torch.randint(5, 49_000, (given.rows, given.tokens), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : given.prompt] = -100
    weight = torch.full((given.rows,), float(given.tokens - max(given.prompt, 1)))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "weight": weight}


def step(
    case: str, model: Any, inputs: dict[str, Any], given: argparse.Namespace, number: int = 0
) -> tuple[float, float, float]:
    """Wall-clock and processor seconds of one pass of a case, and the mean loss, whatever its ``number``."""
    import torch

    from uora_bench.tasks.causal import CausalLM

    begun, worked = time.perf_counter(), time.process_time()
    low = torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bfloat16")
    with low, torch.inference_mode(given.evaluate):
        if given.evaluate and case == "library":
            loss = model(**{key: value for key, value in inputs.items() if key != "weight"}).loss
        else:
            loss = CausalLM._token_losses(model, inputs, 0.0).sum() / inputs["weight"].sum()
    if not given.evaluate:
        loss.backward()
    taken = time.perf_counter() - begun, time.process_time() - worked, float(loss.detach())
    model.zero_grad(set_to_none=True)
    return taken


def times(given: argparse.Namespace) -> dict[str, Any]:
    """Medians of both cases and of their ratio, after a round that does not count."""
    inputs = batch(given)
    steps = {case: partial(step, case, make_for(case, given), inputs, given) for case in CASES}
    taken = benches.in_turns(steps, given.runs, warm_up=1)
    wall = {case: [one[0] for one in taken[case]] for case in CASES}
    work = {case: [one[1] for one in taken[case]] for case in CASES}
    found: dict[str, Any] = {
        case: {
            "seconds": round(statistics.median(wall[case]), 3),
            "processor_seconds": round(statistics.median(work[case]), 3),
            "loss": taken[case][-1][2],
        }
        for case in CASES
    }
    for name, of_cases in (("ratio", wall), ("processor_ratio", work)):
        ratios = benches.ratios(of_cases["auto"], of_cases["library"])
        found[name] = {k: round(v, 3) for k, v in (
            ("median", statistics.median(ratios)), ("least", ratios[0]), ("most", ratios[-1]),
        )}  # fmt: skip
    return found


def memory(given: argparse.Namespace) -> int:
    """Bytes that the model and two steps take beyond the libraries, in this process."""
    inputs = batch(given)
    import transformers  # noqa: F401

    import uora_bench.contract.models  # noqa: F401

    case = given.memory_of
    return benches.bytes_taken(lambda: partial(step, case, make_for(case, given), inputs, given), 2)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=0, help="tokens of each row without a target")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    parser.add_argument("--evaluate", action="store_true", help="a pass without gradients instead of a training step")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    if given.memory_of:
        print(memory(given))
        return
    found = times(given)
    for case in CASES:
        found[case]["peak_memory_bytes"] = benches.bytes_of_process([*sys.argv[1:], "--memory-of", case])
    found["memory_ratio"] = round(found["auto"]["peak_memory_bytes"] / found["library"]["peak_memory_bytes"], 3)
    setting = {
        k: getattr(given, k)
        for k in ("runs", "rows", "tokens", "prompt", "threads", "precision", "backbone", "evaluate")
    }
    benches.write_result(given.out, setting=setting, **found)
    for case in CASES:
        values = found[case]
        print(
            f"{case:<8} {values['seconds']:.2f} s, {values['processor_seconds']:.2f} s of processor time, "
            f"{values['peak_memory_bytes'] / 1e9:.2f} GB, loss {values['loss']:.6f}"
        )
    print(
        f"auto / library: {found['ratio']}, processor time {found['processor_ratio']}, memory {found['memory_ratio']}"
    )


if __name__ == "__main__":
    main()
