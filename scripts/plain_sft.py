"""The script a cell is measured against by scripts/bench_sft.py: TRL's SFTTrainer and PEFT's LoRA on Alpaca.

What such scripts do: prompt and completion, loss on the completion, SFTTrainer with its defaults. Model, rows, batch,
rank, targets, rates, precision and number of steps are the cell's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

LENGTH = 192  # tokens of prompt and completion; longer ones are cut off


def texts(row: dict[str, str]) -> dict[str, str]:
    """Prompt and completion of a row, in the form of `task.template=alpaca`."""
    extra = f"### Input:\n{row['input'].strip()}\n\n" if row["input"].strip() else ""
    prompt = f"### Instruction:\n{row['instruction'].strip()}\n\n{extra}### Response:\n"
    return {"prompt": prompt, "completion": row["output"].strip()}


def mean_loss(model: Any, tokenizer: Any, rows: Any, low: bool) -> float:
    """Mean over all tokens of all completions, one row at a time."""
    import torch

    total, count = 0.0, 0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        for row in rows:
            prompt = tokenizer(row["prompt"])["input_ids"]
            answer = [*tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id][: LENGTH - len(prompt)]
            ids = torch.tensor([prompt + answer])
            labels = torch.tensor([[-100] * len(prompt) + answer])
            total += float(model(input_ids=ids, labels=labels).loss) * len(answer)
            count += len(answer)
    return total / count


def main() -> None:
    """Train and print a line of JSON: held-out loss, mean training loss, seconds of training, tokens, peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with instruction/alpaca_cleaned_1000")
    parser.add_argument("--model", type=Path, required=True, help="folder of the backbone's weights")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, required=True)
    given = parser.parse_args()
    import datasets
    import peft
    import torch
    import transformers
    import trl

    from uora_bench.training import peak_memory

    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(given.model)
    file = given.data / "instruction" / "alpaca_cleaned_1000" / "train.jsonl.gz"
    rows = datasets.load_dataset("json", data_files=str(file), cache_dir=tempfile.mkdtemp(), split="train")
    rows = rows.map(texts, remove_columns=rows.column_names)
    train, held_out = rows.select(range(900)), rows.select(range(900, 1000))
    train, held_out = (
        part.filter(lambda r: len(tokenizer(r["prompt"])["input_ids"]) < LENGTH) for part in (train, held_out)
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    arguments = trl.SFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=given.steps,
        per_device_train_batch_size=8,
        learning_rate=given.lr,
        warmup_steps=round(0.06 * given.steps),
        max_length=LENGTH,
        bf16=given.precision == "bfloat16",
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        seed=0,
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        processing_class=tokenizer,
        peft_config=peft.LoraConfig(
            r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM"
        ),
    )
    begun = time.perf_counter()
    trainer.train()
    trained, peak = time.perf_counter() - begun, peak_memory.resident_peak()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
    found = {
        "held_out_loss": mean_loss(trainer.model.eval(), tokenizer, held_out, given.precision == "bfloat16"),
        "train_loss": sum(losses) / len(losses),
        "train_seconds": round(trained, 2),
        "tokens": int(tokens[-1]),
        "peak_memory_bytes": peak,
        "rows": [len(train), len(held_out)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
