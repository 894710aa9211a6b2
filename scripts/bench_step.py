"""One training step of every adapter against the same frozen backbone without one, and against PEFT's.

The limit is a backbone whose activations' gradients flow from the first block on and whose weights have none. All
cases take turns in one process, in a new order every round; a ratio is that of a case's and the limit's times in one
round, printed as median and quartiles: by the clock, and by the processor time of this process, which other work on
the machine disturbs less (a GPU's work is not in it, and threads that wait are). Peak memory is measured apart, a
process per case: what the model and three steps take beyond the libraries, which every process imports alike. In
float32 only the factored kernel and auto are measured, in bfloat16 every one. `--out` keeps the result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benches

WIDTH = 768


def cases(model: Callable[[], Any], precision: str) -> dict[str, Callable[[], Any]]:
    """Name -> a function that makes the model of the case; ``model`` makes the bare one."""
    kernels = (
        ("factored", "auto")
        if precision == "float32"
        else ("factored", "fused", "merged_weight", "delta_weight", "auto")
    )
    found: dict[str, Callable[[], Any]] = {"limit": lambda: _limit(model())}
    ours: list[tuple[str, str, dict[str, Any]]] = [
        ("lora r=8", "lora", {"rank": 8}),
        ("tied_lora tl6 r=8", "tied_lora", {"rank": 8}),
        ("alpha_lora r=8", "alpha_lora", {"rank": 8}),
        ("vera r=64", "vera", {"rank": 64}),
        ("vera r=1024", "vera", {"rank": 1024}),
        ("uora r=64", "uora", {"rank": 64}),
        ("uora r=1024", "uora", {"rank": 1024}),
    ]
    for name, method, options in ours:
        for kernel in kernels:
            found[f"{name} {kernel}"] = lambda m=method, o={**options, "forward": kernel}: _adapted(model(), m, o)
    # what a cell does in all steps but the auxiliary ones, in which alone α learns
    found["alpha_lora r=8 auto, α rests"] = lambda: _resting(_adapted(model(), "alpha_lora", {"rank": 8}))
    found["lora r=8 peft"] = lambda: _peft(model(), "LoraConfig", 8)
    for rank in (64, 1024):
        found[f"vera r={rank} peft"] = lambda r=rank: _peft(model(), "VeraConfig", r)
    return found


def _bare(layers: int, device: str) -> Any:
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(0)
    config = RobertaConfig(
        num_hidden_layers=layers,
        vocab_size=5000,
        num_labels=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = RobertaForSequenceClassification(config).train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.to(device)


def _open_head(model: Any) -> Any:
    for name, parameter in model.named_parameters():
        if "classifier" in name:
            parameter.requires_grad_(True)
    return model


def _limit(model: Any) -> Any:
    # the adapters of the first block want the gradient of its output: here the embeddings' last bias does
    model.roberta.embeddings.LayerNorm.bias.requires_grad_(True)
    return _open_head(model)


def _adapted(model: Any, name: str, options: dict[str, Any]) -> Any:
    import torch

    from uora_bench.config.cell import build_method
    from uora_bench.config.compose import compose
    from uora_bench.methods import create_method
    from uora_bench.models.targets import Target, TargetShape

    values = compose([f"method={name}", "recipe=none"]).values["method"]
    method = create_method(build_method({**values, **options}), 0)
    targets = [
        Target(f"roberta.encoder.layer.{i}.attention.self.{leaf}", TargetShape(WIDTH, WIDTH, kind, i), 0, WIDTH)
        for i in range(model.config.num_hidden_layers)
        for kind, leaf in (("q", "query"), ("v", "value"))
    ]
    method.inject(model, targets, torch.Generator().manual_seed(0))
    return _open_head(model)


def _resting(model: Any) -> Any:
    for name, parameter in model.named_parameters():
        if name.endswith(".alpha"):
            parameter.requires_grad_(False)
    return model


def _peft(model: Any, kind: str, rank: int) -> Any:
    import peft

    config = getattr(peft, kind)(r=rank, target_modules=["query", "value"], task_type="SEQ_CLS")
    return _open_head(peft.get_peft_model(model, config)).train()


class Step:
    """One forward and backward pass on a fixed batch."""

    def __init__(self, model: Any, rows: int, tokens: int, precision: str, device: str) -> None:
        import torch

        self.model, self.device, self.bfloat16 = model, device, precision == "bfloat16"
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(5, 5000, (rows, tokens), generator=generator).to(device)
        self.labels = torch.randint(0, 2, (rows,), generator=generator).to(device)

    def __call__(self, number: int = 0) -> tuple[float, float]:
        """Seconds of one pass, whatever its ``number``: by the clock, and of the processor."""
        import torch

        begun, spent = time.perf_counter(), time.process_time()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            loss = self.model(input_ids=self.ids, labels=self.labels).loss
        loss.backward()
        if self.device == "cuda":
            torch.cuda.synchronize()
        taken = time.perf_counter() - begun, time.process_time() - spent
        for parameter in self.model.parameters():
            parameter.grad = None
        return taken


def times(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians and quartiles of all cases, after two rounds that do not count."""
    first = _bare(given.layers, given.device)

    def alike() -> Any:
        """A model whose weights lie where those of ``first`` do: nothing steps, and thirty models would fill memory."""
        model = _bare(given.layers, given.device)
        for own, shared in zip(model.parameters(), first.parameters(), strict=True):
            own.data = shared.data
        return model

    known = cases(alike, given.precision)
    chosen = [name for name in known if name == "limit" or any(part in name for part in given.only)]
    steps = {name: Step(known[name](), given.rows, given.tokens, given.precision, given.device) for name in chosen}
    taken = benches.in_turns(steps, given.runs, warm_up=2)
    found = {}
    for name in taken:
        clock, processor = ([pair[i] for pair in taken[name]] for i in (0, 1))
        limit = ([pair[i] for pair in taken["limit"]] for i in (0, 1))
        by_clock, by_processor = (
            benches.quartiles(own, of, 4) for own, of in zip((clock, processor), limit, strict=True)
        )
        found[name] = {
            "seconds": round(statistics.median(clock), 4),
            **by_clock,
            "processor_seconds": round(statistics.median(processor), 4),
            **{f"processor_{key}": value for key, value in by_processor.items()},
        }
    return found


def memory(given: argparse.Namespace) -> int:
    """Bytes that the model and three steps of one case take beyond the libraries, in this process."""
    import torch

    small = cases(lambda: _bare(1, given.device), given.precision)
    for name in (
        "lora r=8 peft",
        "vera r=64 peft",
        "lora r=8 factored",
        "vera r=64 factored",
        "alpha_lora r=8 factored",
    ):
        small[name]()  # imports what each library imports only when it is used
    make = cases(lambda: _bare(given.layers, given.device), given.precision)[given.memory_of]
    taken = benches.bytes_taken(lambda: Step(make(), given.rows, given.tokens, given.precision, given.device), 3)
    return int(torch.cuda.max_memory_allocated()) if given.device == "cuda" else taken


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name holds one of these")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    if given.memory_of:
        print(memory(given))
        return
    found = times(given)
    for name, values in found.items():
        if not given.no_memory:
            values["peak_memory_bytes"] = benches.bytes_of_process([*sys.argv[1:], "--memory-of", name])
    setting = {k: getattr(given, k) for k in ("runs", "layers", "rows", "tokens", "threads", "precision", "device")}
    benches.write_result(given.out, setting={**setting, "width": WIDTH}, cases=found)
    print(f"{'case':<32}{'seconds':>9}{'ratio':>8}   quartiles       processor, quartiles       memory / limit")
    for name, values in found.items():
        bytes_ratio = values.get("peak_memory_bytes", 0) / (found["limit"].get("peak_memory_bytes") or 1)
        shown = [f"{values[f'{of}ratio_q25']:.3f} – {values[f'{of}ratio_q75']:.3f}" for of in ("", "processor_")]
        print(
            f"{name:<32}{values['seconds']:>9.3f}{values['ratio']:>8.3f}   {shown[0]}"
            f"{values['processor_ratio']:>8.3f}   {shown[1]}" + (f"   {bytes_ratio:.2f}" if bytes_ratio else "")
        )


if __name__ == "__main__":
    main()
