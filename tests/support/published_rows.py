"""The rows of the papers' tables that presets rerun: how the tables spell them, and the words of our cells."""

from __future__ import annotations

import csv
import re
from pathlib import Path

COMMON = "any task of the backbone"
TASKS = {
    "MNLI": "glue/mnli", "SST-2": "glue/sst2", "MRPC": "glue/mrpc", "CoLA": "glue/cola", "QNLI": "glue/qnli",
    "QQP": "glue/qqp", "RTE": "glue/rte", "STS-B": "glue/stsb", "E2E": "e2e",
    "instruction tuning (MT-Bench)": "instruct/alpaca", "instruction tuning, 10K subset": "instruct/alpaca",
    "CIFAR100": "vision/cifar100", "Food101": "vision/food101", "Flowers102": "vision/flowers102",
    "RESISC45": "vision/resisc45", "GLUE": COMMON, "any": COMMON,
}  # fmt: skip
RESTRICTED = "recipe=lora/roberta_large_restricted"
RELEASED = "method=alpha_lora recipe=alpha_lora/roberta_base_released"
HELD_OUT = "method=alpha_lora recipe=alpha_lora/roberta_base"
MNLI_START = "LoRA r=8, restricted setup (no MNLI start, seq 128, fixed batch)"
BASE, LARGE, MEDIUM, GPT2_LARGE = "RoBERTa-base", "RoBERTa-large", "GPT-2 medium", "GPT-2 large"
VIT = ("ViT-B (ImageNet-21k)", "ViT-L (ImageNet-21k)")
LLAMA = {"LLaMA-7B": "llama_7b", "LLaMA-13B": "llama_13b", "LLaMA-2-7B": "llama2_7b", "LLaMA-2-13B": "llama2_13b"}
BACKBONES = {
    BASE: "roberta_base", LARGE: "roberta_large", MEDIUM: "gpt2_medium", GPT2_LARGE: "gpt2_large", **LLAMA,
    VIT[0]: "vit_base", VIT[1]: "vit_large",
}  # fmt: skip
# preset -> (method, backbone) as the table spells them -> the words of our row
ROWS: dict[str, dict[tuple[str, str], str]] = {
    "lora_table2": {
        ("LoRA r=8", BASE): "method=lora",
        ("LoRA r=8", LARGE): "method=lora",
        (MNLI_START, LARGE): f"method=lora {RESTRICTED}",
        ("Full fine-tuning", BASE): "method=full",
        ("Full fine-tuning", LARGE): "method=full",
        ("BitFit", BASE): "method=bitfit",
    },
    "lora_table3": {
        (method, backbone): words
        for backbone in (MEDIUM, GPT2_LARGE)
        for method, words in (("LoRA r=4", "method=lora"), ("Full fine-tuning", "method=full"))
    },
    "vera_table2": {
        ("VeRA", BASE): "method=vera",
        ("VeRA", LARGE): "method=vera",
        ("LoRA", BASE): "method=lora",
        ("LoRA", LARGE): f"method=lora {RESTRICTED}",
        ("LoRA-FA", LARGE): "method=lora_fa",
        ("Full fine-tuning", BASE): "method=full",
        ("BitFit", BASE): "method=bitfit",
    },
    "vera_table3": {
        (method, backbone): f"{words} trainer.evaluate=last"
        for backbone in (MEDIUM, GPT2_LARGE)
        for method, words in (
            ("VeRA", "method=vera"),
            ("LoRA (re-run by VeRA authors)", "method=lora"),
            ("Full fine-tuning", "method=full"),
        )
    },
    "vera_table4": {
        **{("LoRA r=64", backbone): "method=lora" for backbone in LLAMA},
        **{("VeRA r=1024", backbone): "method=vera" for backbone in LLAMA},
        ("no fine-tuning", "LLaMA-13B"): "method=lora trainer.lr_adapter=0 trainer.max_steps=1",
    },
    "vera_table5": {
        (method, backbone): words
        for backbone in VIT
        for method, words in (
            ("Head only", "method=head_only"),
            ("Full fine-tuning", "method=full"),
            ("LoRA r=8", "method=lora"),
            ("VeRA r=256", "method=vera"),
        )
    },
    "alpha_lora_glue": {
        ("alpha-LoRA r=8", BASE): RELEASED,
        ("LoRA r=8 (alpha fixed at 1)", BASE): f"{RELEASED} method.mode=fixed method.holdout=0",
    },
}
# preset -> seeds, and where the number is printed: (paper, backbone, task) of hyperparameters.csv, or words of the note
SEEDS: dict[str, tuple[int, tuple[str, str, str] | str]] = {
    "lora_table2": (5, ("LoRA", "RoBERTa-base", "GLUE (all)")),
    "lora_table3": (3, ("LoRA", "GPT-2 medium", "E2E")),
    "vera_table2": (5, ("VeRA", "RoBERTa-base", "GLUE (all six)")),
    "vera_table3": (3, "number of runs behind a value is not known"),
    "vera_table4": (1, "one run, as far as known"),
    "vera_table5": (5, "number of runs, are not known"),
    "uora_glue": (5, "five seeds"),
    "uora_e2e": (3, "three seeds"),
    "uora_instruct": (1, "one seed"),
    "uora_vision": (5, "five seeds"),
    "tied_lora": (1, "are unknown (recipe tied_lora/llama2_7b"),
    "alpha_lora_glue": (3, ("alpha-LoRA", "RoBERTa-base", "GLUE (six tasks incl. QQP)")),
}


def printed_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table of published settings or numbers, by the names of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def task_of(printed: str) -> str:
    """Our name of a task of the published tables."""
    if printed == "MT-Bench after Alpaca-cleaned":
        return "instruct/alpaca"
    return TASKS[re.sub(r" (NLG test|\(.*\))$", "", printed)]
