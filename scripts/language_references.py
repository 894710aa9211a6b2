"""Writes ``tests/metrics/data/language_references.json``: what other people's implementations give for made-up answers.

``python scripts/language_references.py FOLDER`` with a FOLDER that has rouge_score and lm-evaluation-harness
(``pip install --target FOLDER lm-eval rouge-score nltk``) and SQuAD's official script for version 1.1 as
``squad_official.py`` (``metrics/squad/compute_score.py`` of huggingface/evaluate). None of them is needed to run the
suite or its tests.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ITEMS = 60
_SOME = "the a an Red blue river runs running Ran over under U.S. New-York 1,250 42 café naïve dogs' bridge % $5"
WORDS = _SOME.split()


def texts(rng: random.Random, row: int) -> tuple[str, list[str]]:
    """A made-up text, and one to three answers that share some of its words."""
    answer = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
    text = [word for word in answer if rng.random() < 0.7] + [rng.choice(WORDS) for _ in range(rng.randint(0, 4))]
    if row % 5 == 0:
        text = answer
    if row % 17 == 3:
        text = []
    more = [" ".join(rng.sample(answer, rng.randint(1, len(answer)))) + "." for _ in range(rng.randint(0, 2))]
    return " ".join(text), [" ".join(answer), *more]


def solutions(rng: random.Random, row: int) -> tuple[str, str]:
    """A made-up solution of a word problem, in one of the forms that models write, and the right one."""
    number = rng.choice([7, 12, 1250, -3, 0, 18])
    said = number if rng.random() < 0.7 else number + 1
    forms = (
        f"It is 3 x 4. #### {said}", f"So {said:,} in all.", f"She pays ${said}. #### ${said}", "I do not know.",
        f"#### {said}.", f"first #### {said} then #### 99", f"The answer is {said}.00", f"{said}", "",
    )  # fmt: skip
    return forms[row % len(forms)], f"2 x 3 = <<2*3=6>>6\n#### {number:,}"


def squad(rows: list[tuple[str, list[str]]]) -> dict[str, list[float]]:
    import squad_official as official

    made: dict[str, list[float]] = {"exact_match": [], "f1": []}
    for text, answers in rows:
        qa = {"id": "0", "answers": [{"text": answer} for answer in answers]}
        scores = official.compute_score([{"paragraphs": [{"qas": [qa]}]}], {"0": text})
        for name, values in made.items():
            values.append(scores[name] / 100)
    return made


def rouge(rows: list[tuple[str, list[str]]]) -> dict[str, list[list[float]]]:
    from rouge_score.rouge_scorer import RougeScorer

    kinds = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    scorer = RougeScorer(list(kinds.values()), use_stemmer=False)
    scores = [[scorer.score(answer, text) for answer in answers] for text, answers in rows]
    return {name: [[one[kind].fmeasure for one in row] for row in scores] for name, kind in kinds.items()}


def gsm8k(rows: list[tuple[str, str]]) -> dict[str, list[float]]:
    import lm_eval
    import yaml
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.filters.extraction import RegexFilter

    config: dict[str, Any] = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml").read_text())
    metric = {k: v for k, v in config["metric_list"][0].items() if k.startswith(("ignore", "regexes"))}
    made = {}
    for name, entry in zip(("exact_match", "exact_match_last"), config["filter_list"], strict=True):
        options = {k: v for k, v in entry["filter"][0].items() if k != "function"}
        found = list(RegexFilter(**options).apply([[text] for text, _ in rows], [{}] * len(rows)))
        made[name] = [
            float(exact_match_fn(predictions=[text[0]], references=[answer], **metric)["exact_match"])
            for text, (_, answer) in zip(found, rows, strict=True)
        ]
    return made


def choices() -> dict[str, Any]:
    """The harness's own run of tiny/choices on the bundled model, item by item."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    from uora_bench.config.compose import compose
    from uora_bench.data.generated.questions import rows
    from uora_bench.models import backbones
    from uora_bench.tasks import create_task

    cell = compose(["task=tiny/choices", "method=lora"]).cell
    loaded = backbones.load_backbone(cell.backbone, create_task(cell.task).head, 0)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows("validation")[:ITEMS])
        file.flush()
        task = ConfigurableTask(
            config={
                "task": "tiny_choices",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": file.name}},
                "test_split": "test",
                "output_type": "multiple_choice",
                "doc_to_text": "### Instruction:\n{{question}}\n\n### Response:",
                "doc_to_choice": "endings",
                "doc_to_target": "{{label}}",
                "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            }
        )
        model = HFLM(pretrained=loaded.model.eval(), tokenizer=loaded.processor, batch_size=8, device="cpu")
        found = simple_evaluate(model=model, tasks=[task], log_samples=True, bootstrap_iters=0)
    samples = sorted(found["samples"]["tiny_choices"], key=lambda sample: sample["doc_id"])
    scores = {name: [float(sample[name]) for sample in samples] for name in ("acc", "acc_norm")}
    return {**scores, "likelihoods": [[round(float(r[0]), 5) for r in s["filtered_resps"]] for s in samples]}


def hellaswag() -> list[dict[str, Any]]:
    from datasets import Dataset
    from lm_eval.tasks.hellaswag.utils import process_docs

    rng = random.Random(1)
    made = []
    for row in range(ITEMS):
        marks = [rng.choice(["", " [title]", "[step]", "[substeps] ", "  "]) for _ in range(8)]
        said = [f"{mark} {rng.choice(WORDS)} runs{rng.choice(['.', ' [title] Next', '  on'])} " for mark in marks]
        half = "" if row % 6 == 0 else f"{rng.choice(['the boy', 'he', '[step] Then'])} {said[1]}"
        given = {"activity_label": "Roof", "ctx_a": said[0], "ctx_b": half, "endings": said[2:6], "label": str(row % 4)}
        made.append(given)
    found = process_docs(Dataset.from_list(made))
    return [{"row": g, "query": f["query"], "endings": f["choices"]} for g, f in zip(made, found, strict=True)]


def main(folder: str) -> None:
    sys.path[:0] = [str(ROOT / "src")]
    sys.path.append(folder)
    rng = random.Random(0)
    rows = [texts(rng, row) for row in range(ITEMS)]
    problems = [solutions(rng, row) for row in range(ITEMS)]
    found = {
        "texts": [{"text": text, "answers": answers} for text, answers in rows],
        "squad": squad(rows),
        "rouge": rouge(rows),
        "solutions": [{"text": text, "answer": answer} for text, answer in problems],
        "gsm8k": gsm8k(problems),
        "choices": choices(),
        "hellaswag": hellaswag(),
    }
    text = (
        "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in found.items()) + "\n}\n"
    )
    (ROOT / "tests" / "metrics" / "data" / "language_references.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
