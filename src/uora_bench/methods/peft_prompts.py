"""PEFT's prompt learning on a model of ours: virtual tokens or prefixes that PEFT's wrapper puts into the forward pass.

PEFT wraps the model and trains the head through a copy of its own; here the model stays what it is. Its ``forward``
(and ``generate``) go through PEFT's wrapper, which calls the original inside; the prompt encoder is registered on the
model, so that moving it, its parameters and its mode work as for any module; the head is left alone.
"""

from __future__ import annotations

import functools
import types
import warnings
from typing import Any

from peft import PeftModel, PeftModelForCausalLM, PeftModelForSequenceClassification, TaskType

from uora_bench.config.options.peft import ADAPTER, Tuner
from uora_bench.errors import UserError

ENCODER = "prompt_encoder"  # where it sits on the model
PREFIXES = ("prefix_tuning", "cartridge")  # they write keys and values, not tokens


class _Classifier(PeftModelForSequenceClassification):
    """PEFT's forward pass for classification, without PEFT's own copy of the head."""

    def __init__(self, model: Any, config: Any) -> None:
        PeftModel.__init__(self, model, config, ADAPTER)
        self.cls_layer_name = next(iter(model.head_modules))

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        PeftModel.add_adapter(self, *args, **kwargs)


def wrap(model: Any, tuner: Tuner) -> PeftModel:
    """Route ``model.forward`` through PEFT's wrapper of ``tuner``; returns the wrapper, whose encoder is on ``model``.

    Raises:
        UserError: for a model without token embeddings, or without what this type writes to.
    """
    classifies = type(model).__name__.endswith("ForSequenceClassification")
    if not classifies and not hasattr(model, "prepare_inputs_for_generation"):
        raise UserError(f"peft.type={tuner.kind} puts virtual tokens before text; {type(model).__name__} reads none")
    config = tuner.config(task_type=TaskType.SEQ_CLS if classifies else TaskType.CAUSAL_LM)
    make = _Classifier if classifies else PeftModelForCausalLM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers; nothing a user could mend
        wrapper = make(model, config)
    model.add_module(ENCODER, wrapper.prompt_encoder)
    inside = False  # PEFT's wrapper calls the model again: then with the prompts in place
    longer = 0 if classifies or tuner.kind in PREFIXES else config.num_virtual_tokens
    own_forward: Any = model.forward
    own_generate: Any = getattr(model, "generate", None)

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if inside:
            return own_forward(*args, **kwargs)
        inside = True
        try:
            output = wrapper(*args, **kwargs)
        finally:
            inside = False
        if longer:  # one score per token of the input: those of the virtual tokens are nobody's
            output.logits = output.logits[:, longer:]
        return output

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if inside:
            return own_generate(*args, **kwargs)
        inside = True  # PEFT puts the prompts in while it prepares the inputs of each step
        try:
            return wrapper.generate(*args, **kwargs)
        finally:
            inside = False

    model.forward = types.MethodType(forward, model)
    if not classifies:
        model.generate = types.MethodType(functools.wraps(type(model).generate)(generate), model)
    return wrapper
