"""Data to text: a meaning representation is put into words, as in the E2E NLG challenge (Novikova et al. 2017).

Training is on pairs; evaluation groups the references of one meaning representation and generates one text for it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.tasks import DataToTextOptions
from uora_bench.data.ragged import Ragged
from uora_bench.errors import UserError
from uora_bench.tasks.base import Batch, Encoded
from uora_bench.tasks.causal import CausalLM

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

_SLOT = re.compile(r"\s*([^\[\],]+?)\s*\[([^\]]*)\]\s*(?:,|$)")


class DataToText(CausalLM):
    """Loss on the text alone; beam search; the scores of the E2E challenge."""

    Config = DataToTextOptions
    config: DataToTextOptions

    @property
    def smoothing(self) -> float:
        return float(self.config.label_smoothing)

    def check(self, rows: Dataset) -> None:
        self.check_columns(rows, *self.config.columns)
        for name in self.config.columns:
            self.check_texts(rows, name)

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        meaning, text = self.config.columns
        return [self.prompt(m) for m in rows[meaning]], [f" {t}" for t in rows[text]]

    def prompt(self, meaning: str) -> str:
        """The model's input for a meaning representation: ``name : The Vaults | eatType : pub ||``."""
        if self.config.linearisation == "as_is":
            return f"{meaning}{self.config.separator}"
        slots = _SLOT.findall(meaning)
        if not slots or _SLOT.sub("", meaning).strip():
            raise UserError(
                f"task={self.spec.name}: '{meaning[:60]}' is not of the form slot[value], …; set "
                "task.linearisation=as_is"
            )
        return " | ".join(f"{slot} : {value}" for slot, value in slots) + self.config.separator

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Pairs to learn from; or, to be scored, one prompt for each distinct meaning in the order of its first row,
        with all its texts as references. Unless ``too_long`` is ``error``, a prompt leaves room for what is written."""
        import numpy as np

        if training:
            return super().encode(rows, processor, training)
        self.check(rows)
        meaning, text = self.config.columns
        grouped: dict[str, list[str]] = {}
        for row_meaning, row_text in zip(rows[meaning], rows[text], strict=True):
            grouped.setdefault(row_meaning, []).append(row_text)
        references = np.empty(len(grouped), dtype=object)
        references[:] = list(grouped.values())
        made = self.prompts([self.prompt(m) for m in grouped], references, processor)
        if self.config.too_long == "error":  # what the backbone takes decides, and there may be room beyond max_length
            return made
        wanted = min(self.config.max_new_tokens, self.config.max_length // 2)
        prompts = [prompt.tolist() for prompt in made.features["input_ids"]]
        fitted = [self._fitted(i, p, self.config.max_length - wanted, wanted) for i, p in enumerate(prompts)]
        ids = Ragged.of([prompt for prompt in fitted if prompt is not None])
        kept = np.array([prompt is not None for prompt in fitted])
        too_long = sum(a is not b for a, b in zip(fitted, prompts, strict=True))
        return replace(
            made, features={"input_ids": ids}, references=references[kept], lengths=ids.lengths, too_long=too_long
        )

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """(n, width) tokens after each prompt; what follows the end of a text is `evaluation.FILL`."""
        config = self.config
        generator: Any = model
        made = generator.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=config.beams,
            length_penalty=config.length_penalty,
            logits_processor=_no_repeat(config.no_repeat_ngram, batch["input_ids"].shape[1]),
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            eos_token_id=self.processor.eos_token_id,
            pad_token_id=self.processor.eos_token_id,  # everything from the first one on is cut off below
        )
        tokens: Tensor = made[:, batch["input_ids"].shape[1] :]
        ended = (tokens == self.processor.eos_token_id).cumsum(dim=1) > 0
        return tokens.masked_fill(ended, -1)

    def outputs(self, predictions: np.ndarray) -> list[str]:
        """One line of text for each meaning, in the order of the references."""
        texts = self.processor.batch_decode([[t for t in row if t >= 0] for row in predictions.tolist()])
        return [" ".join(text.split()) for text in texts]

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[list[str], list[list[str]]]:
        return self.outputs(predictions), list(references)

    def primary(self, predictions: np.ndarray, references: np.ndarray) -> float:
        # METEOR starts a Java process: not for a half of the dev set
        built_in = self.metric.name == "e2e/e2e"
        options = {"meteor": self.metric.primary == "meteor"} if built_in else {}
        return float(self.score(predictions, references, **options)[self.metric.primary])


def _no_repeat(size: int, start: int) -> list[Any]:
    """Forbids what would repeat ``size`` tokens of the text itself, as LoRA's released beam search does, whose history
    begins empty. The library's own setting counts the prompt's n-grams too: it would forbid to copy a name from the
    meaning into the text.
    """
    if not size:
        return []
    from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor

    class OfTheText(LogitsProcessor):
        def __init__(self) -> None:
            self.rule = NoRepeatNGramLogitsProcessor(size)

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return self.rule(input_ids[:, start:], scores)

    return [OfTheText()]
