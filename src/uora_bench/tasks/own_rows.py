"""What the tasks of a user's own rows share: which files there are, rows that miss something, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from uora_bench.config.cell import TaskConfig
from uora_bench.config.options.own_rows import OwnRowsOptions
from uora_bench.data import own_rows
from uora_bench.data.random_split import REST, random_split
from uora_bench.errors import UserError
from uora_bench.util import words
from uora_bench.util.notes import note

if TYPE_CHECKING:
    from datasets import Dataset

    from uora_bench.data.sources import Source

_DRAWABLE = ("train", "dev", "test")


@dataclass(frozen=True)
class Part:
    """The rows of a split, and what the record calls it."""

    rows: Dataset
    name: str


class Plan:
    """Which splits of ``spec`` are read from which file, and which are drawn; a look at the names of files alone.

    Raises:
        UserError: for a task that names no file or folder.
    """

    def __init__(self, spec: TaskConfig) -> None:
        files = spec.source.files
        if files is None:
            raise UserError(f"task={spec.name} is for rows of your own: name them with task.path=<file or folder>")
        assert isinstance(spec.options, OwnRowsOptions)
        self.files, self.options, self.task = files, spec.options, f"task={spec.name}"
        one = own_rows.is_one_file(files)
        self.read = own_rows.splits_read(files, spec.roles)
        shares = {} if "dev" in self.read else {"dev": self.options.split.dev}
        if shares and one and "test" not in self.read and spec.splits.test is not None and self.options.split.test:
            shares["test"] = self.options.split.test
        self.shares = shares

    @property
    def roles(self) -> tuple[str, ...]:
        """Of all splits there will be: train and dev first, test last."""
        there = {*self.read, *self.shares}
        extra = [role for role in self.read if role not in _DRAWABLE]
        return tuple(role for role in ("train", "dev", *extra, "test") if role in there)

    def name(self, role: str) -> str:
        """The split of ``role`` for people: ``a random 10 % of reviews.csv (split seed 0)``."""
        if role in self.read and (role != "train" or not self.shares):
            return self._file(role)
        file, seed = self._file("train"), f"(split seed {self.options.split_seed})"
        if role == "train":
            return f"{file} without the {_percent(sum(self.shares.values()))} of {' and '.join(self.shares)} {seed}"
        apart = ", apart from dev" if role == "test" else ""  # test is drawn where dev is, and from the same file
        return f"a random {_percent(self.shares[role])} of {file}{apart} {seed}"

    def _file(self, role: str) -> str:
        """The file's name, with the part that is taken of it."""
        whole = self.read[role]
        path = own_rows.file_of(self.files, whole.split("[")[0]) if "+" not in whole else None
        return whole if path is None else path.name + ("[" + whole.split("[", 1)[1] if "[" in whole else "")

    def load(self, source: Source, spec: TaskConfig) -> dict[str, Part]:
        """The splits that are read, by role, named as their files; raises `UserError` for one that cannot be."""
        found = {}
        for role, name in self.read.items():
            rows = source.load(spec.source, name)
            found[role] = Part(rows, self._file(role))
        return found

    def without_missing(self, parts: Mapping[str, Part], lacks: Callable[[Dataset], Sequence[bool]]) -> dict[str, Part]:
        """``parts`` without the rows that ``lacks`` marks.

        Raises:
            UserError: for any such row where ``task.missing`` is ``error``, or where no other is left.
        """
        kept = {}
        for role, part in parts.items():
            marked = lacks(part.rows)
            count = sum(marked)
            if count and self.options.missing == "error":
                raise UserError(
                    f"{self.task}: {count} of {len(part.rows)} rows of {part.name} have no label, answer or text, the "
                    f"first is row {list(marked).index(True) + 1} (a header is no row); fill them in, or set "
                    "task.missing=drop"
                )
            if count == len(part.rows):
                raise UserError(f"{self.task}: no row of {part.name} has both a text and a label or answer")
            if count:
                rows = part.rows.select([i for i, lacking in enumerate(marked) if not lacking])
                part = Part(rows, f"{part.name} ({words.count(count, 'row')} dropped: something is missing)")
            kept[role] = part
        return kept

    def draw(
        self, parts: Mapping[str, Part], keys: Callable[[Dataset], tuple[Sequence[str], Sequence[Hashable]]]
    ) -> dict[str, Part]:
        """``parts`` with the splits drawn that no file has, in the order of `roles`.

        ``keys``: the text of each row that is hashed, and what it is to be balanced by.

        Raises:
            UserError: for a part that would be empty.
        """
        made = {role: replace(part, name=self._named(role, part)) for role, part in parts.items()}
        if self.shares:
            whole = parts["train"]
            drawn = random_split(*keys(whole.rows), self.shares, self.options.split_seed)
            for role, numbers in drawn.items():
                if not len(numbers):
                    raise UserError(
                        f"{self.task}: {len(whole.rows)} rows of {whole.name} are too few to draw {role} from; enlarge "
                        f"task.split.{role}, or give more rows"
                    )
                name = self._named("train" if role == REST else role, whole)
                made[role] = Part(whole.rows.select(numbers), name)
        return {role: made[role] for role in self.roles}

    def _named(self, role: str, part: Part) -> str:
        """`name`, with what `without_missing` says of the rows that it is of."""
        return self.name(role).replace(self._file(role if role in self.read else "train"), part.name, 1)


def note_leaks(parts: Mapping[str, Part], columns: Sequence[str], task: str) -> None:
    """Say how many rows of the other splits have the text of a training row: they are no test of anything new."""
    texts = {role: list(zip(*(part.rows[c] for c in columns), strict=True)) for role, part in parts.items()}
    seen = set(texts["train"])
    for role, part in parts.items():
        count = 0 if role == "train" else sum(text in seen for text in texts[role])
        if count:
            note(f"{task}: {count} of {len(part.rows)} rows of {role} have the text of a training row")


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
