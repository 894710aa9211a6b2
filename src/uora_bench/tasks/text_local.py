"""Classification or regression of a user's own rows: what is in the file decides which, and which classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import TaskConfig
from uora_bench.config.metrics import AUTO, SCORES, settled
from uora_bench.config.options.own_rows import LocalTextOptions
from uora_bench.errors import UserError
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks import labels, own_labels
from uora_bench.tasks.labels import is_text
from uora_bench.tasks.own_rows import Part, Plan, note_leaks
from uora_bench.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    from datasets import Dataset

    from uora_bench.data.sources import Source


class TextLocal(TextClassification):
    """As `TextClassification`, with columns, classes and metric that are found when the rows are."""

    Config = LocalTextOptions
    config: LocalTextOptions

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        options = self.config
        self._names: dict[str, str] = {}
        self._found: dict[str, Any] = {}  # what `settled` gives
        self.label_column = options.label
        self.known = bool(options.labels) or options.target == "regression"
        if self.known:
            self._settle_metric()

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers; False as long as the data was not read."""
        return self.known and not self.classes

    @property
    def settled(self) -> dict[str, Any]:
        """The columns, classes and kind of labels that the data decided."""
        return self._found

    @property
    def roles(self) -> tuple[str, ...]:
        """train, dev and test as far as files or draws give them."""
        return Plan(self.spec).roles

    def split_name(self, role: str) -> str:
        """The file, or which random share of it."""
        return self._names.get(role) or Plan(self.spec).name(role)

    @property
    def head(self) -> HeadSpec:
        """A classifier with an output per class; one output for a regression.

        Raises:
            UserError: before `splits`, when the classes are those of the data.
        """
        if not self.known:
            raise UserError(f"task={self.spec.name}: its classes are in the data; name them with task.labels=[…]")
        return super().head

    def planned_head(self) -> tuple[HeadSpec, str]:
        """The head; of two classes, with a note, where the labels were not read yet."""
        if self.known:
            return self.head, ""
        return HeadSpec("AutoModelForSequenceClassification", {"num_labels": 2}), (
            f"{labels.TO_BE_FOUND}\nmetric: found in the data too: accuracy of classes, pearson of numbers"
        )

    def splits(self, source: Source) -> dict[str, Dataset]:
        """The rows of every role: read, checked, and drawn where no file is given for a role; settles the labels.

        Raises:
            UserError: for a missing column, labels that cannot be told apart, or an empty split.
        """
        plan = Plan(self.spec)
        task, column = plan.task, self.config.label
        parts = plan.load(source, self.spec)
        for part in parts.values():
            self._check_file(part)
        self.columns = self.config.columns or self._only_column(parts["train"])
        parts = {r: Part(p.rows.select_columns([*self.columns, column]), p.name) for r, p in parts.items()}
        for part in parts.values():
            for name in self.columns:
                self.check_texts(part.rows, name, empty=True, null=True)
        parts = plan.without_missing(parts, self._lacking)
        regression = own_labels.is_regression(parts, column, self.config.target, task)
        codes = {} if regression else own_labels.codes_of(parts, column, self.config.labels, task)
        self.classes = self.config.labels or tuple(codes)
        self.known = True
        self._settle_metric()
        if plan.shares and not regression:
            own_labels.check_each_twice(parts["train"].rows, column, parts["train"].name, task)
        parts = {role: Part(self._coded(part.rows, codes), part.name) for role, part in parts.items()}
        parts = plan.draw(parts, self._keys)
        note_leaks(parts, self.columns, task)
        found: dict[str, Any] = {} if self.config.columns else {"columns": list(self.columns)}
        if self.config.target == "auto":
            found["target"] = "regression" if regression else "classes"
        self._found = found if regression or self.config.labels else {**found, "labels": list(self.classes)}
        self._names = {role: part.name for role, part in parts.items()}
        for part in parts.values():
            self.check(part.rows)
        return {role: part.rows for role, part in parts.items()}

    def _settle_metric(self) -> None:
        kind, other = ("regression", "classes") if self.is_regression else ("classes", "regression")
        own, known = self.spec.metric, SCORES[f"text/{kind}"]
        if own.name == AUTO and own.primary not in known and own.primary in SCORES[f"text/{other}"]:
            raise UserError(
                f"task.metric.primary={own.primary} is for {other}, and column '{self.config.label}' is taken for "
                f"{kind}; set task.target={other}, or take one of {', '.join(known)}"
            )
        self.metric = settled(self.spec.metric, f"text/{kind}")

    def _check_file(self, part: Part) -> None:
        held = part.rows.column_names
        for name, option in ((self.config.label, "task.label"), *((c, "task.columns") for c in self.config.columns)):
            if name not in held:
                raise UserError(
                    f"task={self.spec.name}: {part.name} has no column '{name}', its columns are {', '.join(held)}; "
                    f"name yours with {option}="
                )

    def _only_column(self, part: Part) -> tuple[str, ...]:
        """The one column beside the label that holds texts and not numbers."""
        found = []
        for name in part.rows.column_names:
            values = part.rows.select_columns([name]).with_format("arrow")[:][name]
            if name != self.config.label and is_text(values.type):
                texts = (text for text in values.to_pylist() if text)
                if any(not own_labels.is_number(text) for text in texts):
                    found.append(name)
        if len(found) != 1:
            held = ", ".join(part.rows.column_names)
            what = "no text column" if not found else f"{len(found)} text columns"
            raise UserError(
                f"task={self.spec.name}: {part.name} has {what} beside '{self.config.label}' ({held}); name one, or "
                "two for pairs: task.columns=[…]"
            )
        return tuple(found)

    def _lacking(self, rows: Dataset) -> list[bool]:
        texts = zip(*(rows[column] for column in self.columns), strict=True)
        empty = [any(t is None for t in row) or not any(str(t).strip() for t in row) for row in texts]
        return [a or b for a, b in zip(empty, own_labels.lacking(rows, self.config.label), strict=True)]

    def _keys(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """Text and label of each row, however its file keeps them, and the class."""
        label = [repr(v) if self.is_regression else self.classes[v] for v in rows[self.config.label]]
        columns = [[text or "" for text in rows[column]] for column in self.columns]
        contents = ["\0".join(row) for row in zip(*columns, label, strict=True)]
        return contents, [""] * len(label) if self.is_regression else label

    def _coded(self, rows: Dataset, codes: Mapping[str, int]) -> Dataset:
        """``rows`` with class codes, or numbers, for their labels."""
        from datasets import ClassLabel, Value

        column = self.config.label
        if self.is_regression:
            values, feature = [float(v) for v in rows[column]], Value("float64")
        else:
            values = [codes[name] for name in own_labels.names(rows, column)]
            feature = ClassLabel(names=list(self.classes))
        return rows.remove_columns(column).add_column(column, values, feature=feature)
