"""Retention: what a fine-tuned backbone still says of inputs that have nothing to do with its task.

A language model is asked for its loss (nats per token) on a fixed text, any other backbone for its features of the same
text or of fixed pictures; drift is 1 − cosine of the mean features before and after, averaged over the inputs. It is
measured three times: of the backbone as it was loaded, after training, and after training with the adapter turned off,
which has to give back the first numbers to the bit. No random number of the training is drawn here.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from uora_bench.errors import UserError
from uora_bench.models.backbones import max_tokens
from uora_bench.records.record import Retention

if TYPE_CHECKING:
    from torch import Tensor

    from uora_bench.methods.base import Method

TEXT = Path(__file__).parents[1] / "data" / "retention.txt"
_LONGEST = 128  # tokens of a passage; the rest of a longer one is left out
_PICTURES = 24


class _Look(NamedTuple):
    """What a model says: ``values`` are losses of tokens (n,), or mean features of inputs (n, width); float64, CPU."""

    measure: Literal["loss", "drift"]
    values: Tensor

    def against(self, pristine: _Look) -> float:
        """The mean loss, or the drift from ``pristine``."""
        from torch.nn.functional import cosine_similarity

        if self.measure == "loss":
            return float(self.values.mean())
        if self.values.equal(pristine.values):
            return 0.0  # the cosine of a vector with itself is 1 but for rounding
        return float((1 - cosine_similarity(self.values, pristine.values)).mean())

    def difference(self, other: _Look) -> float:
        """The largest difference of a value."""
        return float((self.values - other.values).abs().max())


class Probe:
    """Fixed inputs for one model, and what it said of them before anything was changed."""

    def __init__(self, model: Any, processor: Any, device: Any, text: str | None) -> None:
        """``model`` as it was loaded, with its ``processor``; ``text``: the path of a text instead of the suite's.

        Raises:
            UserError: when the text cannot be read, or has no passage of two tokens.
        """
        if "pixel_values" in getattr(processor, "model_input_names", ()):
            self._inputs, self._name = _pictures(model, processor), f"{_PICTURES} generated pictures"
        else:
            longest = min(_LONGEST, max_tokens(model) or _LONGEST)
            self._inputs, self._name = _passages(processor, text, longest)
        before = next(model.parameters()).device
        model.to(device)
        self._pristine = self._at_start = self._look(model)
        self._left = 0.0  # what putting the adapter in has changed of the model without it
        model.to(before)

    def start(self, model: Any, method: Method, rounding: bool = False) -> None:
        """Measure ``model`` with its adapter in place and turned off, which must change nothing.

        With passes of another ``rounding`` than the library's (``trainer.cpu_ops``) the result is instead the value to
        compare with after training.
        """
        try:
            with method.turned_off():
                off = self._look(model)
        except UserError:
            return  # `finish` says so
        if rounding:
            self._at_start = off
        else:
            self._left = off.difference(self._pristine)

    def finish(self, model: Any, method: Method) -> Retention:
        """Measure the trained ``model``, unwrapped and not merged."""
        pristine = self._pristine
        found = Retention(pristine.measure, self._name, len(pristine.values))
        before, after = pristine.against(pristine), self._look(model).against(pristine)
        if not math.isfinite(before) or not math.isfinite(after):
            return replace(found, problem="the outputs are not finite")
        found = replace(found, pristine=before, adapted=after)
        try:
            with method.turned_off():
                off = self._look(model)
        except UserError as error:
            return replace(found, problem=str(error))
        difference = max(self._left, off.difference(self._at_start))
        if not math.isfinite(difference):
            return replace(found, problem="with the adapter turned off the outputs are not finite")
        return replace(found, off=off.against(pristine), off_difference=difference)

    def _look(self, model: Any) -> _Look:
        import torch

        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        try:
            with torch.no_grad(), torch.autocast(device.type, enabled=False):  # what it caches, training may use
                said = [_said(model, {k: v.to(device) for k, v in one.items()}) for one in self._inputs]
        finally:
            model.train(was_training)
        values = torch.cat([value.double().cpu() for value in said])
        return _Look("loss" if values.ndim == 1 else "drift", values)


def _said(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Losses of the tokens after the first, (tokens − 1,); or the mean feature, (1, width)."""
    import torch.nn.functional as F

    if type(model).__name__.endswith("ForCausalLM") or hasattr(model, "lm_head"):
        logits, ids = model(**inputs).logits[0], inputs["input_ids"][0]
        return F.cross_entropy(logits[:-1].float(), ids[1:], reduction="none")
    features = model.base_model(**inputs).last_hidden_state.float()
    # (1, tokens, width), or (1, channels, height, width) of a network of convolutions
    return features.mean(dim=1) if features.ndim == 3 else features.flatten(2).mean(dim=2)


def _passages(tokenizer: Any, path: str | None, longest: int) -> tuple[list[dict[str, Tensor]], str]:
    import torch

    place = TEXT if path is None else Path(path)
    try:
        text = place.read_bytes()
        lines = [line for line in text.decode("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UserError(f"retention.text: cannot read '{place}': {why}; give a UTF-8 file, a passage a line") from None
    rows = [tokenizer(line, truncation=True, max_length=longest)["input_ids"] for line in lines]
    rows = [torch.tensor([ids]) for ids in rows if len(ids) > 1]
    if not rows:
        raise UserError(f"retention.text: '{place}' has no passage of two tokens; write one a line")
    inputs = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in rows]
    return inputs, f"text, sha256 {hashlib.sha256(text).hexdigest()}"


def _pictures(model: Any, processor: Any) -> list[dict[str, Tensor]]:
    """Pictures of waves in three colours, each a function of its number alone, through the model's own processor."""
    import numpy as np
    from PIL import Image

    size = getattr(model.config, "image_size", None) or 224
    width = size[0] if isinstance(size, (list, tuple)) else size
    y, x = np.mgrid[0:width, 0:width] / width
    found = []
    for number in range(_PICTURES):
        rng = np.random.Generator(np.random.PCG64(number))
        colours = []
        for _ in range(3):
            across, down, phase = rng.uniform(0.5, 6.0), rng.uniform(0.5, 6.0), rng.uniform(0, 2 * math.pi)
            colours.append(0.5 + 0.5 * np.sin(2 * math.pi * (across * x + down * y) + phase))
        picture = Image.fromarray((255 * np.stack(colours, axis=-1)).round().astype(np.uint8))
        found.append({"pixel_values": processor(picture, return_tensors="pt")["pixel_values"]})
    return found
