"""A user's own prompts and answers: written after a template, or the likeliest of some choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import TaskConfig
from uora_bench.config.metrics import settled
from uora_bench.config.options.own_rows import TextGenerateOptions
from uora_bench.errors import UserError, nearest
from uora_bench.tasks.base import Encoded
from uora_bench.tasks.own_rows import Part, Plan, note_leaks
from uora_bench.tasks.templated import Templated

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from uora_bench.data.sources import Source


class TextGenerate(Templated):
    """Scored by the text that is written, or, with ``task.choices``, by whether the right choice is the likeliest.

    That is the one with the highest probability of its tokens and the end of text, unnormalised.
    """

    Config = TextGenerateOptions
    config: TextGenerateOptions

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.metric = settled(config.metric, "text/choices" if self.config.choices else "text/generation")
        self._names: dict[str, str] = {}

    # --- rows -----------------------------------------------------------------------------------------------------

    @property
    def roles(self) -> tuple[str, ...]:
        """train, dev and test as far as files or draws give them."""
        return Plan(self.spec).roles

    def whole_name(self, role: str) -> str:
        """The file, or which random share of it."""
        return self._names.get(role) or Plan(self.spec).name(role)

    def splits(self, source: Source) -> dict[str, Dataset]:
        """The rows of every role: read, checked, and drawn where no file is given for a role.

        Raises:
            UserError: for a missing column, an answer that is none of its choices, or an empty split.
        """
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
        """Raise `UserError` for a missing column or a cell that is no text."""
        names = self.config.columns
        self.check_columns(rows, *names, self.config.answer)
        for name in (*names, self.config.answer):
            self.check_texts(rows, name, empty=name in names)

    # --- tokens ---------------------------------------------------------------------------------------------------

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """The filled template of every row, and its answer, after a blank unless the template ends with one."""
        return self.filled(rows), [self.config.target(answer.strip()) for answer in rows[self.config.answer]]

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Pairs to learn from; or, to be scored, each row's prompt with its answer, or with its choices."""
        import numpy as np

        if training:
            return super().encode(rows, processor, training)
        self.check(rows)
        prompts, answers = self.filled(rows), [answer.strip() for answer in rows[self.config.answer]]
        if self.config.choices:
            own = self.choices(rows)
            right = [names.index(answer) for names, answer in zip(own, answers, strict=True)]
            return self.with_choices(prompts, own, right, processor)
        references = np.empty(len(rows), dtype=object)
        references[:] = answers
        return self.to_continue(prompts, references, processor)

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[Any, Any]:
        """The written texts and the answers; or with choices the number (n,) of the likeliest and of the right one."""
        if self.config.choices:
            return predictions.argmin(axis=1), references.astype(int)
        return self.lines(predictions), list(references)

    def to_keep(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """The columns of `Task.to_keep`; with choices, their log-likelihoods as logits too."""
        kept = super().to_keep(predictions, references)
        return {**kept, "logits": -predictions} if self.config.choices else kept
