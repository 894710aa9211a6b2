"""Sampling that depends on nothing but the question's own logits and its own stream of random numbers.

Token t of a row is the inverse of its cumulative distribution softmax(logits / temperature) at the t-th number, uniform
in [0, 1), of the row's stream: exact sampling, one number per token, the same alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from uora_bench.errors import CellError

END_OF_TEXT, NEW_PROMPT, LENGTH = "end_of_text", "new_prompt", "length"


class Sampler(LogitsProcessor):
    """Leaves one token of each row possible: the drawn one, or with temperature 0 the likeliest.

    ``temperatures`` and ``seeds``: of each row, and of its stream; ``width``: tokens of the padded prompts; ``steps``:
    tokens to be drawn at most.
    """

    def __init__(
        self, temperatures: Sequence[float], seeds: Sequence[int], width: int, steps: int, device: Any
    ) -> None:
        self.width = width
        self.drawing = any(temperatures)
        self.temperatures = torch.tensor(temperatures, dtype=torch.float64, device=device)[:, None]
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        # drawn on the CPU in any case, so that a stream is the same on every device
        draws = [torch.rand(steps, dtype=torch.float64, generator=stream) for stream in streams]
        self.draws = torch.stack(draws).to(device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores`` (n, vocabulary) with 0 at the chosen token and −∞ at all others.

        Raises:
            CellError: for a logit that is no number.
        """
        if bool(scores.isnan().any()):
            raise CellError("the model's logits are not finite; its weights have diverged")
        chosen = scores.argmax(dim=-1, keepdim=True)
        if self.drawing:
            step = input_ids.shape[1] - self.width
            warm = self.temperatures > 0
            scaled = scores.double() / torch.where(warm, self.temperatures, 1.0)
            cumulative = scaled.softmax(dim=-1).cumsum(dim=-1)
            place = self.draws[:, step : step + 1] * cumulative[:, -1:]
            drawn = torch.searchsorted(cumulative, place, right=True).clamp(max=scores.shape[-1] - 1)
            chosen = torch.where(warm, drawn, chosen)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class Ending(StoppingCriteria):
    """Notes where each row of a batch ends: at the end-of-text token, or where it begins a prompt of its own.

    ``ended`` and ``lengths`` are known for a row once it has ended, None before. A length is in tokens: without the
    end-of-text token, but with the tokens of the prompt that the row began.
    """

    def __init__(self, tokenizer: Any, end_of_text: int, marker: str | None, width: int, rows: int) -> None:
        self.tokenizer, self.end_of_text, self.marker, self.width = tokenizer, end_of_text, marker, width
        self.ended: list[str | None] = [None] * rows
        self.lengths: list[int | None] = [None] * rows
        self._tail = len((marker or "").encode())  # no token is shorter than a byte

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        """Note which of the rows ``input_ids`` (n, tokens) have ended and why; (n,), True for those that have."""
        made = input_ids.shape[1] - self.width
        tails = input_ids[:, max(self.width, input_ids.shape[1] - max(self._tail, 1)) :].tolist()
        for row, tail in enumerate(tails):
            if self.ended[row] is None:
                if tail[-1] == self.end_of_text:
                    self.ended[row], self.lengths[row] = END_OF_TEXT, made - 1
                elif self.marker is not None and self.marker in self.tokenizer.decode(tail):
                    self.ended[row], self.lengths[row] = NEW_PROMPT, made
        return torch.tensor([ended is not None for ended in self.ended], device=input_ids.device)
