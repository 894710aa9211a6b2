"""Data to text: a meaning representation is put into words, as in the E2E NLG challenge (Novikova et al. 2017).

Training is on pairs; evaluation groups the references of one meaning representation and generates one text for it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.tasks import DataToTextOptions
from uora_bench.errors import UserError
from uora_bench.tasks.base import Encoded
from uora_bench.tasks.generation import Writes

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

_SLOT = re.compile(r"\s*([^\[\],]+?)\s*\[([^\]]*)\]\s*(?:,|$)")


class DataToText(Writes):
    """Loss on the text alone; beam search; the scores of the E2E challenge."""

    Config = DataToTextOptions
    config: DataToTextOptions

    @property
    def smoothing(self) -> float:
        """``label_smoothing``: ε of `CausalLM.smoothing`."""
        return float(self.config.label_smoothing)

    def check(self, rows: Dataset) -> None:
        """Raise `UserError` unless both columns are there and hold text in every row."""
        self.check_columns(rows, *self.config.columns)
        for name in self.config.columns:
            self.check_texts(rows, name)

    def items(self, rows: Dataset) -> list[Hashable]:
        """The meaning of every row: rows of one meaning are one item."""
        return list(rows[self.config.columns[0]])

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """The prompt of every row, and its text after a blank."""
        meaning, text = self.config.columns
        return [self.prompt(m) for m in rows[meaning]], [f" {t}" for t in rows[text]]

    def prompt(self, meaning: str) -> str:
        """The model's input for a meaning representation: ``name : The Vaults | eatType : pub ||``.

        Raises:
            UserError: for one that is not of the form ``slot[value], …``, unless ``linearisation=as_is``.
        """
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
        """Pairs to learn from; or, to be scored, one prompt for each distinct meaning with all its texts.

        The texts are its references. The prompts are in the order of their first rows. Raises as `check`, `prompt` and
        `to_continue`.
        """
        import numpy as np

        if training:
            return super().encode(rows, processor, training)
        self.check(rows)
        meaning, text = self.config.columns
        grouped: dict[str, list[str]] = {}
        first = []
        for row, (row_meaning, row_text) in enumerate(zip(rows[meaning], rows[text], strict=True)):
            if row_meaning not in grouped:
                first.append(row)
            grouped.setdefault(row_meaning, []).append(row_text)
        references = np.empty(len(grouped), dtype=object)
        references[:] = list(grouped.values())
        made = self.to_continue([self.prompt(m) for m in grouped], references, processor)
        return replace(made, rows=np.array(first)[slice(None) if made.rows is None else made.rows])

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[list[str], list[list[str]]]:
        """The written texts, and the references of each."""
        return self.lines(predictions), list(references)

    def primary(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """The primary value alone, without starting Java where that is not METEOR."""
        # METEOR starts a Java process: not for a half of the dev set
        built_in = self.metric.name == "e2e/e2e"
        options = {"meteor": self.metric.primary == "meteor"} if built_in else {}
        return float(self.score(predictions, references, **options)[self.metric.primary])
