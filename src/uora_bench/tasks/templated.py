"""Tasks whose prompt is a filled template: the answer is written after it, or is the likeliest of some choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.templates import TemplateOptions
from uora_bench.data.ragged import Ragged
from uora_bench.tasks.base import Batch, Encoded
from uora_bench.tasks.causal import IGNORED, PAD_MULTIPLE, pad_id
from uora_bench.tasks.generation import Writes

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor


@dataclass(frozen=True)
class Choices(Encoded):
    """Rows to be scored by their choices.

    ``features["c"]`` are prompt and choice ``c``, without tokens where a row has fewer; ``prompts`` (n,) is the number
    of tokens before a choice.
    """

    prompts: np.ndarray | None = None


class Templated(Writes):
    """Loss on the answer alone.

    Scored by the text that is written, or, with ``task.choices``, by the likelihood of each choice.
    """

    config: TemplateOptions

    @property
    def end_of_text(self) -> bool:
        """Whether a choice is scored with the end of text after it."""
        return True

    def filled(self, rows: Dataset) -> list[str]:
        """The prompt of each row."""
        columns = {name: rows[name] for name in self.config.columns}
        return [self.config.prompt(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    def choices(self, rows: Dataset) -> list[tuple[str, ...]]:
        """The choices of each row; empty where answers are written."""
        named = self.config.choices
        if isinstance(named, str):
            return [tuple(text.strip() for text in own or () if text) for own in rows[named]]
        return [named] * len(rows)

    def with_choices(
        self, prompts: Sequence[str], own: Sequence[Sequence[str]], right: Sequence[Any], processor: Any
    ) -> Choices:
        """Rows to be scored by the choices that each has as its ``own``; ``right`` is what they are scored against."""
        import numpy as np

        self.processor = processor
        count, end = max(len(names) for names in own), [processor.eos_token_id] if self.end_of_text else []
        flat = [(i, self.config.target(name)) for i, names in enumerate(own) for name in names]
        pairs = iter(self._tokens([prompts[i] for i, _ in flat], [target for _, target in flat]))
        columns: list[list[list[int]]] = [[] for _ in range(count)]
        before, kept, too_long = [], [], 0
        for row, names in enumerate(own):
            tokens = [next(pairs) for _ in names]
            longest = max(len(choice) for _, choice in tokens) + len(end)
            whole = tokens[0][0]
            prompt = self._fitted(row, whole, self.config.max_length - longest, longest)
            too_long += prompt is not whole
            if prompt is None:
                continue
            before.append(len(prompt))
            kept.append(row)
            for c in range(count):
                columns[c].append([*prompt, *tokens[c][1], *end] if c < len(names) else [])
        features = {str(c): Ragged.of(column) for c, column in enumerate(columns)}
        lengths = np.max([column.lengths for column in features.values()], axis=0)
        references = np.empty(len(kept), dtype=object)
        references[:] = [right[row] for row in kept]
        fill = {"input_ids": pad_id(processor)}
        return Choices(features, references, lengths, fill, 0, too_long, np.array(before), rows=np.array(kept))

    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """Of rows with choices: (n · choices, width) int64 tensors, a row's choices one after the other.

        ``weight`` (n, choices) is 1 where there is one. Other rows as `CausalLM.collate`.
        """
        import numpy as np
        import torch

        if not isinstance(encoded, Choices) or encoded.prompts is None:
            return super().collate(encoded, indices, padding)
        indices = np.asarray(indices)
        width = -(-int(encoded.lengths[indices].max()) // PAD_MULTIPLE) * PAD_MULTIPLE
        n, count, places = len(indices), len(encoded.features), np.arange(width)
        ids = np.full((n, count, width), encoded.pad_values["input_ids"], dtype=np.int64)
        inside = np.zeros((n, count, width), dtype=bool)
        for c, column in enumerate(encoded.features.values()):
            inside[:, c] = places < column.lengths[indices][:, None]
            own = ids[:, c]
            own[inside[:, c]] = column.gather(indices)
        target = inside & (places >= encoded.prompts[indices][:, None, None])
        there = inside.any(axis=2)
        inside[..., 0] = True  # a choice that is not there is one token that nobody scores
        flat = {"input_ids": ids, "attention_mask": inside.astype(np.int64), "labels": np.where(target, ids, IGNORED)}
        batch: Batch = {name: torch.from_numpy(values.reshape(n * count, width)) for name, values in flat.items()}
        return {**batch, "weight": torch.from_numpy(there.astype(np.float32))}

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """(n, width) tokens that are written; with choices (n, choices), the negative log-likelihood of each in nats.

        That is infinite where a row has no such choice.
        """
        import torch

        if not self.config.choices:
            return super().predict(model, batch)
        there = batch["weight"] > 0
        n, count = there.shape
        sums = []
        for c in range(count):  # one at a time: a batch of rows is then a batch of sequences
            own = {k: v.view(n, count, -1)[:, c] for k, v in batch.items() if k != "weight"}
            sums.append(self._token_losses(model, own, 0.0).sum(dim=1))
        return torch.stack(sums, dim=1).masked_fill(~there, torch.inf)

    def outputs(self, predictions: np.ndarray) -> list[str] | None:
        """The written texts, a line each; None where choices are ranked and nothing is written."""
        return None if self.config.choices else self.lines(predictions)
