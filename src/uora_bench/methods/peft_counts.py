"""Closed forms of what PEFT's tuners train, for the types and fields where they are simple."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from uora_bench.config.options.peft import Tuner
from uora_bench.methods.base import TargetShape

Form = Callable[[Any, Sequence[TargetShape]], int]


def _low_rank(rank: int, shapes: Sequence[TargetShape]) -> int:
    return sum(rank * (s.in_features + s.out_features) for s in shapes)


def _vblora(c: Any, shapes: Sequence[TargetShape]) -> int:
    parts = sum(s.in_features // c.vector_length + s.out_features // c.vector_length for s in shapes)
    return int(c.num_vectors * (c.vector_length + c.r * parts))  # one bank for all, logits per sub-vector


# per type: the fields that may be set without leaving the form, and the form (of PEFT's config and the shapes)
FORMS: dict[str, tuple[str, Form]] = {
    "lora": ("r lora_alpha lora_dropout use_rslora alpha_pattern", lambda c, s: _low_rank(c.r, s)),
    "adalora": (
        "init_r target_r lora_alpha lora_dropout tinit tfinal deltaT beta1 beta2 orth_reg_weight total_step",
        lambda c, s: _low_rank(c.init_r, s) + c.init_r * len(s),
    ),
    "vera": (
        "r projection_prng_key save_projection vera_dropout d_initial",
        lambda c, s: sum(x.out_features + c.r for x in s),
    ),
    # a feed-forward's second map is scaled at its input, the others at their output
    "ia3": ("", lambda c, s: sum(x.in_features if x.kind == "down" else x.out_features for x in s)),
    "loha": ("r alpha rank_dropout module_dropout alpha_pattern", lambda c, s: 2 * _low_rank(c.r, s)),
    "fourierft": ("n_frequency scaling random_loc_seed init_weights", lambda c, s: c.n_frequency * len(s)),
    "hra": ("r apply_GS init_weights", lambda c, s: sum(c.r * x.in_features for x in s)),
    "vblora": (
        "r num_vectors vector_length topk vblora_dropout init_vector_bank_bound init_logits_std",
        _vblora,
    ),
}


def count(tuner: Tuner, shapes: Sequence[TargetShape]) -> int | None:
    """The number of trained parameters of ``tuner`` on targets of ``shapes``; None where there is no simple form."""
    neutral, form = FORMS.get(tuner.kind, ("", None))
    if form is None or not tuner.takes_modules or tuner.fields.keys() - set(neutral.split()):
        return None
    return form(tuner.config(target_modules=["any"]), shapes)
