"""Public language tasks of prompt and answer: questions on a text, summaries, translations, word problems, choices."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.templates import PromptedOptions
from uora_bench.errors import UserError
from uora_bench.tasks.base import Encoded
from uora_bench.tasks.labels import is_text
from uora_bench.tasks.templated import Templated

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from uora_bench.data.sources import Source

_MARKUP = re.compile(r"\[.*?\]")


class Prompted(Templated):
    """Scored by the texts that are written, each against all answers of its row, or by the likelihood of choices."""

    Config = PromptedOptions
    config: PromptedOptions

    @property
    def end_of_text(self) -> bool:
        """Whether an end-of-text token is scored after a choice."""
        return self.config.end_of_text

    # --- rows -----------------------------------------------------------------------------------------------------

    def splits(self, source: Source) -> dict[str, Dataset]:
        """The rows of every role, prepared and checked.

        Raises:
            UserError: for data that cannot be had or used, naming the split.
        """
        loaded = {}
        for role, name in self.spec.to_load.items():
            rows = source.load(self.spec.source, name, self.config.shuffle_seed)
            try:
                loaded[role] = self.prepared(rows)
                self.check(loaded[role])
            except UserError as error:
                raise UserError(f"{error} (split '{name}')") from None
        return loaded

    def whole_name(self, role: str) -> str:
        """The name of the split before a part is drawn; says so if its rows were shuffled first."""
        name, seed = super().whole_name(role), self.config.shuffle_seed
        return name if seed is None or "[" not in name else f"{name} of its rows in random order (seed {seed})"

    def prepared(self, rows: Dataset) -> Dataset:
        """The columns that are used, field ``b`` of column ``a`` as ``a.b``; `UserError` where one is missing."""
        rows = rows.flatten()
        if self.config.prepare == "hellaswag":
            rows = self._hellaswag(rows)
        lists = [self.config.choices] if isinstance(self.config.choices, str) else []
        used = [*self.config.columns, self.config.answer, *([self.config.learn] if self.config.learn else []), *lists]
        self.check_columns(rows, *used)
        return rows.select_columns(list(dict.fromkeys(used)))

    def _hellaswag(self, rows: Dataset) -> Dataset:
        """Context and endings as lm-evaluation-harness reads them.

        The activity before the context, the second half of the context (``ctx_b``) with a capital, no WikiHow markup.
        Rows without halves have ``ctx`` alone.
        """
        halves = {"ctx_a", "ctx_b"} <= set(rows.column_names)
        texts = ("activity_label", *(("ctx_a", "ctx_b") if halves else ("ctx",)))
        self.check_columns(rows, *texts, "endings", "label")
        for name in texts:
            self.check_texts(rows, name, empty=name == "ctx_b")
        self._check_lists(rows, "endings")

        def query(row: dict[str, Any]) -> dict[str, Any]:
            context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}" if halves else row["ctx"]
            return {
                "query": without_markup(f"{row['activity_label']}: {context}"),
                "endings": [without_markup(ending) for ending in row["endings"]],
                "label": str(row["label"]),
            }

        from datasets import Dataset

        return Dataset.from_list([query(row) for row in rows])

    def check(self, rows: Dataset) -> None:
        """Raise `UserError` for a missing column, a cell that is no text, or an answer that is none of the choices."""
        config = self.config
        self.check_columns(rows, *config.columns, config.answer)
        for name in config.columns:
            self.check_texts(rows, name, empty=len(config.columns) > 1)
        if is_list(rows, config.answer):
            self._check_lists(rows, config.answer)
        else:
            self.check_texts(rows, config.answer)
        if config.learn is not None:
            self.check_texts(rows, config.learn)
        if config.choices:
            if isinstance(config.choices, str):
                self._check_lists(rows, config.choices)
            self._right(rows)

    def _check_lists(self, rows: Dataset, name: str) -> None:
        """Raise `UserError` unless column ``name`` holds a list of texts in every row, one of them not empty."""
        kind = rows.select_columns([name]).with_format("arrow")[:][name].type
        if not is_list(rows, name) or not (is_text(kind.value_type) or not any(rows[name])):
            raise UserError(f"task={self.spec.name}: column '{name}' must hold lists of texts, it holds {kind}")
        for row, texts in enumerate(rows[name]):
            if not any((text or "").strip() for text in texts or ()):
                raise UserError(f"task={self.spec.name}: row {row} (from 0) has no '{name}'")

    def _answers(self, rows: Dataset) -> list[list[str]]:
        """All answers of each row."""
        found = rows[self.config.answer]
        lists = is_list(rows, self.config.answer)
        return [[t.strip() for t in own if (t or "").strip()] if lists else [own.strip()] for own in found]

    def choices(self, rows: Dataset) -> list[tuple[str, ...]]:
        """The choices of each row, as they are: lm-evaluation-harness counts blanks too."""
        named = self.config.choices
        return [tuple(own) for own in rows[named]] if isinstance(named, str) else [named] * len(rows)

    def _right(self, rows: Dataset) -> list[int]:
        """The number of the right choice of each row."""
        numbers = []
        for row, (own, answers) in enumerate(zip(self.choices(rows), self._answers(rows), strict=True)):
            said, number = answers[0], -1
            if self.config.answer_is == "text":
                number = own.index(said) if said in own else -1
            elif said.isdecimal():
                number = int(said)
            if not all((text or "").strip() for text in own):
                raise UserError(f"task={self.spec.name}: row {row} (from 0) has an empty choice among {list(own)}")
            if not 0 <= number < len(own) or len(own) < 2:
                what = "the number of none" if self.config.answer_is == "number" else "none"
                raise UserError(
                    f"task={self.spec.name}: '{said[:40]}' in row {row} (from 0) is {what} of its {len(own)} choices"
                )
            numbers.append(number)
        return numbers

    def items(self, rows: Dataset) -> list[Hashable]:
        """The prompt of every row with ``group``: rows of one prompt are one item; else every row is one."""
        return list(self.filled(rows)) if self.config.group else super().items(rows)

    # --- tokens and scores ----------------------------------------------------------------------------------------

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """The filled template of every row, and what is learnt: ``learn``, the right choice, or the first answer."""
        if self.config.learn is not None:
            learnt = [text.strip() for text in rows[self.config.learn]]
        elif self.config.choices:
            learnt = [own[i] for own, i in zip(self.choices(rows), self._right(rows), strict=True)]
        else:
            learnt = [answers[0] for answers in self._answers(rows)]
        return self.filled(rows), [self.config.target(text) for text in learnt]

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Pairs to learn from (`texts`); or, to be scored, each row's prompt with its choices or all its answers.

        Where ``group`` says so, the answers of rows of one prompt are put together. Raises as `check`.
        """
        import numpy as np

        if training:
            return super().encode(rows, processor, training)
        self.check(rows)
        prompts = self.filled(rows)
        if self.config.choices:
            own = self.choices(rows)
            right = [[i, *map(len, names)] for i, names in zip(self._right(rows), own, strict=True)]
            return self.with_choices(prompts, own, right, processor)
        answers = self._answers(rows)
        first = np.arange(len(rows))
        if self.config.group:
            grouped: dict[str, list[str]] = {}
            starts = []
            for row, (prompt, own_answers) in enumerate(zip(prompts, answers, strict=True)):
                if prompt not in grouped:
                    starts.append(row)
                grouped.setdefault(prompt, []).extend(own_answers)
            prompts, answers, first = list(grouped), list(grouped.values()), np.array(starts)
        references = np.empty(len(prompts), dtype=object)
        references[:] = answers
        made = self.to_continue(prompts, references, processor)
        return replace(made, rows=first if made.rows is None else first[made.rows])

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[Any, Any]:
        """Texts with lists of answers; or negative log-likelihoods with the right choice and the choices' lengths."""
        return (list(predictions) if self.config.choices else self.lines(predictions)), list(references)


def without_markup(text: str) -> str:
    """``text`` without what WikiHow's pages leave in HellaSwag: titles become sentences, brackets go."""
    return _MARKUP.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def is_list(rows: Dataset, name: str) -> bool:
    """Whether column ``name`` holds lists."""
    import pyarrow as pa

    kind = rows.select_columns([name]).with_format("arrow")[:][name].type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
