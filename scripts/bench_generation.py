"""Tokens a second that a language model writes: the suite's decoding against transformers' `generate` with PEFT.

    python scripts/bench_generation.py [--backbone tiny_gpt2] [--runs 5] [--out results/bench/generation_tiny_gpt2.json]

LoRA on the same modules of the same weights (of GPT-2 on the whole c_attn, as PEFT has it), the same precision,
prompts, batch size and ends, and a cache in every case. A prompt is several prompts of a generated task in a row, so
that lengths are mixed. Greedy decoding and beam search; three cases take turns in one process, in a new order every
round:

- ``library``: `generate` of `peft.get_peft_model` on batches in the order of the prompts;
- ``unsorted``: the suite's model and `predict` on the same batches;
- ``sorted``: the same on the batches that an evaluation makes: prompts of similar length.

A ratio is of tokens a second in one round, once by the clock and once by processor time, which other work on the
machine disturbs less; printed as median and range. How many texts are the library's to the token is counted. `--out`
keeps the result. SmolLM2 needs `make smollm2`, and is left out without it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import benches

CASES = ("library", "unsorted", "sorted")
# by backbone: the task, how many of its prompts make the longest, the adapted modules by the suite's and PEFT's names
MODELS = {
    "tiny_gpt2": ("tiny/restaurants", 5, "[qkv]", ["c_attn"]),
    "smollm2_135m": ("tiny/answers", 8, "[q,v]", ["q_proj", "v_proj"]),
}


@dataclass
class Decoding:
    """One backbone and one way to decode: the suite's task and model, PEFT's model, and prompts in batches of
    ``rows``."""

    task: Any
    suite: Any
    library: Any
    prompts: Any
    rows: int
    precision: str

    def write(self, case: str, number: int = 1) -> tuple[float, float, list[list[int]]]:
        """Wall-clock and processor seconds, and the tokens after each prompt in its order; in round 0, which does not
        count, of one batch."""
        import torch

        write = self._library if case == "library" else partial(self.task.predict, self.suite)
        found: dict[int, list[int]] = {}
        begun, worked = time.perf_counter(), time.process_time()
        # PEFT's `generate` goes around the forward that accelerate has put on its model: both are given autocast here
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            for indices in self._batches(case == "sorted")[: None if number else 1]:
                made = write(self.task.collate(self.prompts, indices, "dynamic"))
                found |= dict(zip(indices, made.tolist(), strict=True))
        taken = time.perf_counter() - begun, time.process_time() - worked
        return *taken, [[t for t in found[i] if t >= 0] for i in sorted(found)]

    def _batches(self, by_length: bool) -> list[list[int]]:
        from uora_bench.data import batching

        count, size = len(self.prompts), self.rows
        if by_length:
            return [b.tolist() for b in batching.evaluation_batches(self.prompts.lengths, size, 0, 1)]
        return [list(range(start, min(start + size, count))) for start in range(0, count, size)]

    def _library(self, batch: dict[str, Any]) -> Any:
        config, processor = self.task.config, self.task.processor
        stops = list(getattr(config, "stop", ())) if config.beams == 1 else []
        made = self.library.generate(
            **batch,
            num_beams=config.beams,
            length_penalty=getattr(config, "length_penalty", 1.0),
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            eos_token_id=processor.eos_token_id,
            pad_token_id=processor.eos_token_id,
            **({"stop_strings": stops, "tokenizer": processor} if stops else {}),
        )[:, batch["input_ids"].shape[1] :]
        return made.masked_fill((made == processor.eos_token_id).cumsum(dim=1) > 0, -1)


def decodings(backbone: str, given: argparse.Namespace) -> dict[str, Decoding]:
    """Greedy decoding and beam search with the two models of ``backbone``.

    Raises:
        UserError: when its weights are not on this machine.
    """
    import peft

    from uora_bench.config.compose import compose
    from uora_bench.methods import create_method
    from uora_bench.models import backbones
    from uora_bench.tasks import create_task
    from uora_bench.training import cpu_ops
    from uora_bench.training.inject import inject

    name, most, own_names, modules = MODELS[backbone]
    words = [f"task={name}", f"backbone={backbone}", "method=lora", "method.rank=8", "recipe=none"]
    words += [f"method.target_modules={own_names}", f"task.max_new_tokens={given.new_tokens}"]
    cells = {how: compose([*words, f"task.beams={n}"]).cell for how, n in (("greedy", 1), ("beams", given.beams))}
    cell = cells["greedy"]
    tasks = {how: create_task(cell.task) for how, cell in cells.items()}
    own = backbones.load_backbone(cell.backbone, tasks["greedy"].head, 0)
    inject(cell, own.model, create_method(cell.method, 0))
    cpu_ops.install(own.model)
    other: Any = backbones.load_backbone(cell.backbone, tasks["greedy"].head, 0).model
    adapter = peft.LoraConfig(r=8, target_modules=modules, fan_in_fan_out=modules == ["c_attn"], task_type="CAUSAL_LM")
    models = [m.eval() for m in (own.model, peft.get_peft_model(other, adapter))]
    prompts = mixed_prompts(tasks["greedy"], own.processor, most, given.prompts)
    for task in tasks.values():
        task.processor = own.processor
    return {how: Decoding(task, *models, prompts, given.rows, given.precision) for how, task in tasks.items()}


def mixed_prompts(task: Any, processor: Any, most: int, count: int) -> Any:
    """``count`` prompts of 1 to ``most`` prompts of the task's test set each, in a random order."""
    import random

    import numpy as np

    from uora_bench.data.sources import Source

    texts, _ = task.texts(task.splits(Source(None))["test"])
    draw = random.Random(0)
    parts = [draw.sample(texts, 1 + i * most // count) for i in range(count)]
    draw.shuffle(parts)
    return task.prompts(["\n\n".join(own) for own in parts], np.zeros(count), processor)


def compared(taken: dict[str, list[tuple[float, float, list[list[int]]]]]) -> dict[str, Any]:
    """Medians of the cases, and their ratios to the library's of the same round."""
    speeds = {
        case: [
            [sum(map(len, texts)) / one for *seconds, texts in rounds for one in [seconds[clock]]] for clock in (0, 1)
        ]
        for case, rounds in taken.items()
    }
    expected, found = taken["library"][0][2], dict[str, Any]()
    for case, (wall, work) in speeds.items():
        texts = taken[case][0][2]
        found[case] = {
            "tokens_per_second": round(statistics.median(wall), 1),
            "tokens_per_processor_second": round(statistics.median(work), 1),
            "tokens": sum(map(len, texts)),
            "texts_like_library": sum(a == b for a, b in zip(texts, expected, strict=True)),
        }
        for name, clock in (("ratio", 0), ("processor_ratio", 1)):
            own = benches.ratios(speeds[case][clock], speeds["library"][clock])
            found[case][name] = {k: round(v, 3) for k, v in (
                ("median", statistics.median(own)), ("least", own[0]), ("most", own[-1]),
            )}  # fmt: skip
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--backbone", choices=tuple(MODELS), help="only this one")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import torch

    from uora_bench.errors import UserError

    torch.set_num_threads(given.threads)
    results: dict[str, Any] = {}
    for backbone in [given.backbone] if given.backbone else MODELS:
        try:
            ways = decodings(backbone, given)
        except UserError as error:
            print(f"{backbone} is left out: {error}")
            continue
        lengths = next(iter(ways.values())).prompts.lengths
        results[backbone] = {"prompt_tokens": [int(lengths.min()), int(lengths.max())]}
        for how, decoding in ways.items():
            cases: dict[str, Callable[[int], Any]] = {case: partial(decoding.write, case) for case in CASES}
            results[backbone][how] = found = compared(benches.in_turns(cases, given.runs, warm_up=1))
            for case, values in found.items():
                ratio = values["processor_ratio"]
                print(
                    f"{backbone:<14}{how:<8}{case:<10}{values['tokens_per_second']:8.1f} tokens/s, "
                    f"{values['tokens_per_processor_second']:8.1f} by processor time, ratio {ratio['median']:.2f} "
                    f"({ratio['least']:.2f} – {ratio['most']:.2f}), {values['texts_like_library']} of {given.prompts} "
                    "texts the library's", flush=True
                )  # fmt: skip
    setting = {k: v for k, v in vars(given).items() if k not in ("out", "backbone")}
    benches.write_result(given.out, setting=setting, **results)


if __name__ == "__main__":
    main()
