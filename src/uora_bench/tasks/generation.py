"""Tasks of a causal language model that are scored by what it writes after a prompt: beam search, and its texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uora_bench.data.ragged import Ragged
from uora_bench.tasks.causal import CausalLM, Prompts

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from uora_bench.tasks.base import Batch


class Writes(CausalLM):
    """A `CausalLM` whose predictions are texts.

    Options: ``beams``, ``max_new_tokens``, and where a task has them ``length_penalty``, ``no_repeat_ngram`` and
    ``stop`` (texts that end what is written, and are no part of it).
    """

    config: Any

    def to_continue(self, prompts: Sequence[str], references: np.ndarray, processor: Any) -> Prompts:
        """``prompts`` to be continued, with what is scored against.

        With ``too_long=truncate`` a prompt keeps the end that leaves room for what is written; with ``drop`` a row
        whose prompt leaves none is left out. ``references`` (n,).
        """
        import numpy as np

        made = self.prompts(prompts, references, processor)
        if self.config.too_long == "error":  # what the backbone takes decides, and there may be room beyond max_length
            return made
        wanted = min(self.config.max_new_tokens, self.config.max_length // 2)
        whole = [prompt.tolist() for prompt in made.features["input_ids"]]
        fitted = [self._fitted(i, p, self.config.max_length - wanted, wanted) for i, p in enumerate(whole)]
        ids = Ragged.of([prompt for prompt in fitted if prompt is not None])
        kept = np.array([prompt is not None for prompt in fitted])
        too_long = sum(a is not b for a, b in zip(fitted, whole, strict=True))
        return replace(
            made,
            features={"input_ids": ids},
            references=references[kept],
            lengths=ids.lengths,
            too_long=too_long,
            rows=np.flatnonzero(kept),
        )

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """(n, width) int64, the tokens written after each prompt; −1 (`evaluation.FILL`) from the end of a text on."""
        config = self.config
        generator: Any = model
        made = generator.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=config.beams,
            length_penalty=getattr(config, "length_penalty", 1.0),
            logits_processor=_no_repeat(getattr(config, "no_repeat_ngram", 0), batch["input_ids"].shape[1]),
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            eos_token_id=self.processor.eos_token_id,
            stopping_criteria=self._stopping(batch["input_ids"].shape[1]),
            pad_token_id=self.processor.eos_token_id,  # everything from the first one on is cut off below
        )
        tokens: Tensor = made[:, batch["input_ids"].shape[1] :]
        ended = (tokens == self.processor.eos_token_id).cumsum(dim=1) > 0
        return tokens.masked_fill(ended, -1)

    def outputs(self, predictions: np.ndarray) -> list[str] | None:
        """The written texts, a line each."""
        return self.lines(predictions)

    def lines(self, predictions: np.ndarray) -> list[str]:
        """One line of text for each prompt, in the order of the references: up to the first of ``stop``."""
        texts = self.processor.batch_decode([[t for t in row if t >= 0] for row in predictions.tolist()])
        for stop in getattr(self.config, "stop", ()):
            texts = [text.split(stop, 1)[0] for text in texts]
        return [" ".join(text.split()) for text in texts]

    def _stopping(self, start: int) -> list[Any]:
        """Ends a text where a stop text is in it, so that a batch is not written on to its last token.

        Of beams, whose better ones may still come, nothing is ended.
        """
        stops = tuple(getattr(self.config, "stop", ()))
        if not stops or self.config.beams > 1:
            return []
        import torch
        from transformers import StoppingCriteria

        processor = self.processor
        tail = max(len(stop.encode()) for stop in stops) + 4  # a token is a byte at least; some are parts of one letter

        class AtStop(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                texts = processor.batch_decode(input_ids[:, max(start, input_ids.shape[1] - tail) :])
                ended = [any(stop in text for stop in stops) for text in texts]
                return torch.tensor(ended, device=input_ids.device)

        return [AtStop()]


def _no_repeat(size: int, start: int) -> list[Any]:
    """Forbids what would repeat ``size`` tokens of the text itself.

    As LoRA's released beam search does, whose history begins empty. The library's own setting counts the prompt's
    n-grams too: it would forbid to copy a name from the meaning into the text.
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
