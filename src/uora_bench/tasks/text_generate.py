"""A user's own prompts and answers: written after a template, or the likeliest of some choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import TaskConfig
from uora_bench.config.metrics import settled
from uora_bench.config.options.own_rows import TextGenerateOptions
from uora_bench.data.ragged import Ragged
from uora_bench.errors import UserError, nearest
from uora_bench.tasks.base import Batch, Encoded, likeliest
from uora_bench.tasks.causal import IGNORED, PAD_MULTIPLE, pad_id
from uora_bench.tasks.generation import Writes
from uora_bench.tasks.own_rows import Part, Plan, note_leaks

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

    from uora_bench.data.sources import Source


@dataclass(frozen=True)
class Choices(Encoded):
    """Rows to be scored by their choices: ``features["c"]`` are prompt, choice ``c`` and end of text, without tokens
    where a row has fewer; ``prompts`` (n,) is the number of tokens before a choice; references are right choices."""

    prompts: np.ndarray | None = None


class TextGenerate(Writes):
    """Loss on the answer alone. Scored by the text that is written, or, with ``task.choices``, by whether the right
    choice is the likeliest: the one with the highest probability of its tokens and the end of text, unnormalised."""

    Config = TextGenerateOptions
    config: TextGenerateOptions

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.metric = settled(config.metric, "text/choices" if self.config.choices else "text/generation")
        self._names: dict[str, str] = {}

    # --- rows -----------------------------------------------------------------------------------------------------

    @property
    def roles(self) -> tuple[str, ...]:
        return Plan(self.spec).roles

    def split_name(self, role: str) -> str:
        return self._names.get(role) or Plan(self.spec).name(role)

    def splits(self, source: Source) -> dict[str, Dataset]:
        plan = Plan(self.spec)
        parts = {role: self._texts_of(part) for role, part in plan.load(source, self.spec).items()}
        parts = plan.without_missing(parts, self._lacking)
        for part in parts.values():
            self._check_choices(part)
        parts = plan.draw(parts, self._keys)
        note_leaks(parts, self.config.columns, plan.task)
        self._names = {role: part.name for role, part in parts.items()}
        return {role: part.rows for role, part in parts.items()}

    def _texts_of(self, part: Part) -> Part:
        """The columns that are used, those of numbers and of true and false as texts."""
        import pyarrow as pa
        from datasets import Dataset

        config, rows = self.config, part.rows
        used = [*config.columns, config.answer]
        lists = [config.choices] if isinstance(config.choices, str) else []
        for name in (*used, *lists):
            if name not in rows.column_names:
                raise UserError(
                    f"task={self.spec.name}: {part.name} has no column '{name}', its columns are "
                    f"{', '.join(rows.column_names)}; set task.template, task.answer and task.choices"
                )
        names = list(dict.fromkeys((*used, *lists)))
        table = rows.select_columns(names).with_format("arrow")[:]
        columns = {}
        try:
            for name in names:
                columns[name] = table[name].cast(pa.list_(pa.string()) if name in lists else pa.string())
        except pa.ArrowException:
            raise UserError(
                f"task={self.spec.name}: column '{name}' of {part.name} must hold "
                f"{'a list of texts' if name in lists else 'texts or numbers'}, it holds {part.rows.features[name]}"
            ) from None
        return Part(Dataset(pa.table(columns)), part.name)

    def _lacking(self, rows: Dataset) -> list[bool]:
        prompts = zip(*(rows[column] for column in self.config.columns), strict=True)
        empty = [any(t is None for t in row) or not any(t.strip() for t in row) for row in prompts]
        answers = [not (answer or "").strip() for answer in rows[self.config.answer]]
        return [a or b for a, b in zip(empty, answers, strict=True)]

    def _keys(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """Texts of each row; and of choices that are the same for all rows the right one."""
        answers = list(rows[self.config.answer])
        columns = [list(rows[column]) for column in self.config.columns]
        fixed = self.config.choices and not isinstance(self.config.choices, str)
        contents = ["\0".join(row) for row in zip(*columns, answers, strict=True)]
        return contents, [a.strip() for a in answers] if fixed else [""] * len(answers)

    def choices(self, rows: Dataset) -> list[tuple[str, ...]]:
        """The choices of each row; empty where answers are written."""
        named = self.config.choices
        if isinstance(named, str):
            return [tuple(text.strip() for text in own or () if text) for own in rows[named]]
        return [named] * len(rows)

    def _check_choices(self, part: Part) -> None:
        if not self.config.choices:
            return
        answers = part.rows[self.config.answer]
        for row, (own, answer) in enumerate(zip(self.choices(part.rows), answers, strict=True), start=1):
            if answer.strip() not in own or len(own) < 2:
                raise UserError(
                    f"task={self.spec.name}: the answer '{answer.strip()[:40]}' in row {row} of {part.name} is none of "
                    f"its choices {list(own)}{nearest(answer.strip(), own)}"
                )

    def check(self, rows: Dataset) -> None:
        names = self.config.columns
        self.check_columns(rows, *names, self.config.answer)
        for name in (*names, self.config.answer):
            self.check_texts(rows, name, empty=name in names)

    # --- tokens ---------------------------------------------------------------------------------------------------

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        columns = {name: rows[name] for name in self.config.columns}
        prompts = [
            self.config.prompt(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
        ]
        return prompts, [self._target(answer) for answer in rows[self.config.answer]]

    def _target(self, answer: str) -> str:
        ends = self.config.pieces[-1]
        spaced = ends[1] is None and ends[0][-1:].isspace()
        return answer.strip() if spaced else f" {answer.strip()}"

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Pairs to learn from; or, to be scored, each row's prompt with its answer, or with its choices."""
        import numpy as np

        if training:
            return super().encode(rows, processor, training)
        self.check(rows)
        if self.config.choices:
            return self._with_choices(rows, processor)
        references = np.empty(len(rows), dtype=object)
        references[:] = [answer.strip() for answer in rows[self.config.answer]]
        return self.to_continue(self.texts(rows)[0], references, processor)

    def _with_choices(self, rows: Dataset, processor: Any) -> Choices:
        import numpy as np

        self.processor = processor
        room, own = self.config.max_length, self.choices(rows)
        count = max(len(names) for names in own)
        prompts, _ = self.texts(rows)
        flat = [(i, self._target(name)) for i, names in enumerate(own) for name in names]
        pairs = iter(self._tokens([prompts[i] for i, _ in flat], [target for _, target in flat]))
        columns: list[list[list[int]]] = [[] for _ in range(count)]
        before, right, numbers, too_long = [], [], [], 0
        for row, (names, answer) in enumerate(zip(own, rows[self.config.answer], strict=True)):
            tokens = [next(pairs) for _ in names]
            longest = max(len(choice) for _, choice in tokens) + 1
            whole = tokens[0][0]
            prompt = self._fitted(row, whole, room - longest, longest)
            too_long += prompt is not whole
            if prompt is None:
                continue
            numbers.append(row)
            before.append(len(prompt))
            right.append(names.index(answer.strip()))
            for c in range(count):
                columns[c].append([*prompt, *tokens[c][1], processor.eos_token_id] if c < len(names) else [])
        features = {str(c): Ragged.of(column) for c, column in enumerate(columns)}
        lengths = np.max([column.lengths for column in features.values()], axis=0)
        fill = {"input_ids": pad_id(processor)}
        return Choices(features, np.array(right), lengths, fill, 0, too_long, np.array(before), rows=np.array(numbers))

    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """Of rows with choices: (n · choices, width) tensors, a row's choices one after the other; ``weight`` (n,
        choices) is 1 where there is one."""
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

    # --- predictions ----------------------------------------------------------------------------------------------

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """(n, width) tokens that are written; with choices (n, choices) the log-likelihood of each."""
        import torch

        if not self.config.choices:
            return super().predict(model, batch)
        there = batch["weight"] > 0
        n, count = there.shape
        sums = []
        for c in range(count):  # one at a time: a batch of rows is then a batch of sequences
            own = {k: v.view(n, count, -1)[:, c] for k, v in batch.items() if k != "weight"}
            sums.append(self._token_losses(model, own, 0.0).sum(dim=1))
        return -torch.stack(sums, dim=1).masked_fill(~there, torch.inf)

    def outputs(self, predictions: np.ndarray) -> list[str] | None:
        return None if self.config.choices else self.lines(predictions)

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[Any, Any]:
        """Texts with texts, or numbers of choices."""
        if self.config.choices:
            return likeliest(predictions), references
        return self.lines(predictions), list(references)

    def to_keep(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        kept = super().to_keep(predictions, references)
        return {**kept, "logits": predictions} if self.config.choices else kept
