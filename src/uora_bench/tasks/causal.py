"""What tasks of a causal language model share: a prompt, a target after it, and the loss of the target's tokens.

Sequences are prompt + target + end-of-text. Prompt and target are tokenised apart, so that the place where one ends and
the other begins does not depend on the tokenizer's merges.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import TaskConfig
from uora_bench.config.options.tasks import CausalOptions
from uora_bench.data.ragged import Ragged
from uora_bench.errors import UserError
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks.base import Batch, Encoded, Task
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

IGNORED = -100  # the label of a token that the loss leaves out
PAD_MULTIPLE = 8
MANY_WORDS = 8192  # from such a vocabulary on, an evaluation makes logits only where there is a target


@dataclass(frozen=True)
class Prompts(Encoded):
    """Rows to be continued: ``features["input_ids"]`` are prompts, padded on the left; references are what to score."""


@dataclass(frozen=True)
class Packed(Encoded):
    """Sequences of several examples one after the other.

    ``features["position_ids"]`` begin at 0 with each of them; where no attention mask is given, transformers keeps them
    apart in attention by that.
    """


class CausalLM(Task):
    """Label-smoothed cross-entropy over target tokens; the mean is over tokens, not over examples.

    A sub-class says which columns make a prompt and a target (`texts`), and how what it predicts is scored.
    """

    config: CausalOptions

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self._drawn: dict[str, int] | None = None  # how many items `sample` left of a split; None: it was not asked yet

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """The prompts and the targets of ``rows``, a text each per row."""
        raise TypeError(f"{type(self).__name__} defines no texts")

    @property
    def smoothing(self) -> float:
        """ε of label smoothing: the target is (1 − ε) the right token + ε the uniform distribution; training only."""
        return 0.0

    @property
    def head(self) -> HeadSpec:
        """The language model's own output layer."""
        return HeadSpec("AutoModelForCausalLM", {})

    # --- rows -----------------------------------------------------------------------------------------------------

    def items(self, rows: Dataset) -> list[Hashable]:
        """What is scored as one: rows of the same item stay together when some are drawn. Every row is its own."""
        return list(range(len(rows)))

    def sample(self, rows: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        """``rows`` with the splits cut to ``sample_<role>`` items, in their old order.

        They are drawn with ``sample_seed``, not with the cell's ``seed``.
        """
        import numpy as np

        drawn: dict[str, Dataset] = {}
        self._drawn = {}
        for role, split in rows.items():
            count, keys = self.config.sampled(role), self.items(split)
            known = list(dict.fromkeys(keys))
            if count is not None and count < len(known):
                order = np.random.default_rng(derive(self.config.sample_seed, f"sample {role}")).permutation(len(known))
                chosen = {known[i] for i in order[:count]}
                split = split.select([i for i, key in enumerate(keys) if key in chosen])
                self._drawn[role] = count
            drawn[role] = split
        return drawn

    def whole_name(self, role: str) -> str:
        """The name of the split before any of it is drawn."""
        return super().split_name(role)

    def split_name(self, role: str) -> str:
        """The name of the split; of a drawn part, the number of items and the seed of the draw."""
        name = self.whole_name(role)
        count = self.config.sampled(role) if self._drawn is None else self._drawn.get(role)
        return name if count is None else f"a random {count} of {name} (sample seed {self.config.sample_seed})"

    # --- rows to tokens -------------------------------------------------------------------------------------------

    @property
    def packing(self) -> bool:
        """Whether examples to learn from share sequences of up to ``max_length`` tokens."""
        return self.config.packs

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Prompts and targets as one sequence each, labels `IGNORED` on the prompt unless ``loss_on_prompt``.

        A sequence longer than ``max_length`` loses the end of its target; of a prompt that leaves no room for one token
        of the target ``too_long`` decides.
        """
        import numpy as np

        self.check(rows)
        self.processor = processor
        prompts, targets = self.texts(rows)
        ids: list[list[int]] = []
        labels: list[list[int]] = []
        pairs = self._tokens(prompts, targets)
        fitted = [self._fitted(i, p, self.config.max_length - 1, len(t) + 1) for i, (p, t) in enumerate(pairs)]
        for prompt, (_, target) in zip(fitted, pairs, strict=True):
            if prompt is None:
                continue
            whole = [*prompt, *target, processor.eos_token_id][: self.config.max_length]
            ids.append(whole)
            first = 1 if self.config.loss_on_prompt else len(prompt)
            labels.append([IGNORED] * first + whole[first:])
        columns = {"input_ids": ids, "labels": labels}
        if training and self.packing:
            groups = pack([len(row) for row in ids], self.config.max_length)
            columns["position_ids"] = [list(range(len(row))) for row in ids]
            columns = {k: [[t for i in group for t in v[i]] for group in groups] for k, v in columns.items()}
        features = {k: Ragged.of(v) for k, v in columns.items()}
        counted = np.array([sum(t != IGNORED for t in row) for row in columns["labels"]], dtype=np.float64)
        kind = Packed if "position_ids" in columns else Encoded
        too_long = sum(prompt is not pair[0] for prompt, pair in zip(fitted, pairs, strict=True))
        lengths = features["input_ids"].lengths
        # of sequences that hold several rows nothing is predicted
        numbers = np.array([i for i, prompt in enumerate(fitted) if prompt is not None]) if kind is Encoded else None
        return kind(features, counted, lengths, {"input_ids": pad_id(processor)}, too_long=too_long, rows=numbers)

    def _fitted(self, row: int, prompt: list[int], most: int, wanted: int) -> list[int] | None:
        """``prompt``, or its end where it has more than ``most`` tokens, or None: its row is left out.

        The end leaves room for the ``wanted`` tokens of the target (half of ``max_length`` at most).

        Raises:
            UserError: for a prompt that is too long where ``too_long`` is ``error``.
        """
        room = self.config.max_length
        if len(prompt) <= most:
            return prompt
        if self.config.too_long == "error":
            raise UserError(
                f"task={self.spec.name}: the prompt of row {row} (from 0) has {len(prompt)} tokens, no room for its "
                f"target in task.max_length={room}; raise it, or set task.too_long=truncate or drop"
            )
        if self.config.too_long == "drop":
            return None
        start = prompt[:1] if prompt[0] == self.processor.bos_token_id else []
        return [*start, *prompt[len(start) + min(wanted, room // 2) - room :]]

    def prompts(self, prompts: Sequence[str], references: np.ndarray, processor: Any) -> Prompts:
        """``prompts`` to be continued, with what their continuations are scored against, (n,)."""
        self.processor = processor
        ids = Ragged.of([tokens for tokens, _ in self._tokens(prompts, [""] * len(prompts))])
        new_tokens = int(getattr(self.config, "max_new_tokens", 0))
        return Prompts({"input_ids": ids}, references, ids.lengths, {"input_ids": pad_id(processor)}, new_tokens)

    def _tokens(self, prompts: Sequence[str], targets: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        start = [self.processor.bos_token_id] if self.starts_with_bos else []
        a, b = (self.tokens(self.processor, [t], add_special_tokens=False)["input_ids"] for t in (prompts, targets))
        whole = [(prompt.tolist(), target.tolist()) for prompt, target in zip(a, b, strict=True)]
        # a chat template may have written it already
        return [(p if start and p[:1] == start else [*start, *p], target) for p, target in whole]

    @property
    def starts_with_bos(self) -> bool:
        """Whether the tokenizer itself begins a text with its beginning-of-text token (LLaMA does, GPT-2 does not)."""
        first = self.processor("a")["input_ids"][:1]
        return bool(first) and first[0] == self.processor.bos_token_id

    # --- batches --------------------------------------------------------------------------------------------------

    def width(self, lengths: np.ndarray, padding: str) -> int:
        """The longest, rounded up to a multiple of 8 (``dynamic``), or ``max_length``."""
        return (
            self.config.max_length if padding == "max_length" else -(-int(lengths.max()) // PAD_MULTIPLE) * PAD_MULTIPLE
        )

    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """Tensors (n, width) int64; `Prompts` are padded on the left, the rest on the right.

        So all prompts end where the continuation begins. ``weight`` (n,) float32 is the number of tokens that count in
        the loss; prompts have none, and `Packed` sequences no attention mask.
        """
        import numpy as np
        import torch

        lengths = encoded.lengths[indices]
        width = self.width(lengths, "dynamic" if isinstance(encoded, Prompts) else padding)
        places = np.arange(width)[None, :]
        left = isinstance(encoded, Prompts)
        inside = places >= (width - lengths)[:, None] if left else places < lengths[:, None]
        batch: Batch = {}
        if not isinstance(encoded, Packed):  # a mask would hide where the examples of a sequence begin
            batch["attention_mask"] = torch.from_numpy(inside.astype(np.int64))
        fills = {"labels": IGNORED, **encoded.pad_values}
        for name, column in encoded.features.items():
            padded = np.full((len(lengths), width), fills.get(name, 0), dtype=np.int64)
            padded[inside] = column.gather(indices)
            batch[name] = torch.from_numpy(padded)
        if not left:
            batch["weight"] = torch.from_numpy(np.asarray(encoded.references[indices], dtype=np.float32))
        return batch

    # --- loss and likelihood --------------------------------------------------------------------------------------

    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed negative log-likelihood in nats of the tokens that count, and their number."""
        import torch

        each = self._token_losses(model, batch, self.smoothing).sum(dim=1)
        # an example without weight is there to keep processes in step, and must not count
        return torch.where(batch["weight"] > 0, each, 0.0).sum(), batch["weight"].sum()

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """(n, 2) float64: the negative log-likelihood of each target in nats, unsmoothed, and its number of tokens."""
        import torch

        each = self._token_losses(model, batch, 0.0).sum(dim=1)
        return torch.stack((each.double(), batch["weight"].double()), dim=1)

    @staticmethod
    def _token_losses(model: torch.nn.Module, batch: Batch, smoothing: float) -> Tensor:
        """The loss of predicting each token from those before it, (n, width − 1); 0 where it does not count."""
        import torch.nn.functional as F

        inputs: Batch = {k: batch[k] for k in ("input_ids", "attention_mask", "position_ids") if k in batch}
        if getattr(getattr(model, "module", model), "takes_targets", False):  # uora_bench.training.cpu_llama
            losses: Tensor = model(**inputs, use_cache=False, targets=batch["labels"], smoothing=smoothing)
            return losses
        labels = batch["labels"][:, 1:]
        keep = labels != IGNORED
        logits, picked = _logits_before(model, inputs, keep)
        logits = logits if logits.dtype.itemsize >= 4 else logits.float()
        if picked:
            found = logits.new_zeros(labels.shape)
            found[keep] = F.cross_entropy(logits, labels[keep], reduction="none", label_smoothing=smoothing)
            return found
        return F.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
        )


def _logits_before(model: Any, inputs: Batch, keep: Tensor) -> tuple[Tensor, bool]:
    """The logits of all tokens but the last, (n, width − 1, words), and False; or of some alone, and True.

    Those are (targets, words), of the tokens before those of ``keep`` (n, width − 1): without a gradient, from
    `MANY_WORDS` on. What the output layer is given is picked, so that whatever a family does with its logits afterwards
    stays.
    """
    import torch

    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None and not torch.is_grad_enabled() else None
    if head is None or getattr(head, "out_features", 0) < MANY_WORDS:
        return model(**inputs, use_cache=False).logits[:, :-1], False
    picked: list[bool] = []

    def pick(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        # by name a hook is not given it; virtual tokens are cut off behind the layer
        if not given or given[0].shape[:2] != (keep.shape[0], keep.shape[1] + 1):
            return None
        picked.append(True)
        return (given[0][:, :-1][keep][None], *given[1:])

    hook = head.register_forward_pre_hook(pick)
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        hook.remove()
    return (logits[0], True) if picked else (logits[:, :-1], False)


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """The numbers of the examples in each sequence of at most ``room`` tokens.

    In their order, none cut, the next sequence begun when one does not fit; ``lengths``: their tokens, each ≤ ``room``.
    """
    groups: list[list[int]] = []
    used = room
    for i, length in enumerate(lengths):
        if used + length > room:
            groups.append([])
            used = 0
        groups[-1].append(i)
        used += length
    return groups


def pad_id(processor: Any) -> int:
    """The token that fills a batch; a tokenizer without one lends its end-of-text token, which the mask hides."""
    return int(processor.pad_token_id if processor.pad_token_id is not None else processor.eos_token_id)
