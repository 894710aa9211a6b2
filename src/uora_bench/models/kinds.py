"""Names to kinds: which linear maps of a model are q, k, v, o, gate, up and down, by what libraries call them.

A map is a candidate where its name has a block's number in it; ``{layer}`` stands for that number, and ``{stage}`` for
the one before it where blocks are numbered within stages. Nothing is assumed of a fused map but where its order of rows
was read in the model's code (`_CONTIGUOUS`): elsewhere the whole is one kind, ``qkv``, because GPT-NeoX, BLOOM, Falcon,
CodeGen and DeBERTa (the first) lay the rows out head by head.
"""

from __future__ import annotations

import math
import re
from typing import Any

from uora_bench.config.cell import TargetModule
from uora_bench.models.targets import is_linear, linear_shape

# by kind the last part of a map's name, in an attention module and outside of one; the order is that of the kinds
_ATTENTION = {
    "q": r"q_proj|query|query_proj|q_lin|q",
    "k": r"k_proj|key|key_proj|k_lin|k",
    "v": r"v_proj|value|value_proj|v_lin|v",
    "qkv": r"c_attn|query_key_value|qkv_proj|Wqkv|qkv|in_proj",
    "o": r"o_proj|out_proj|out_lin|output\.dense|dense|c_proj|Wo|o|proj",
}
_FEED_FORWARD = {
    "gate": r"gate_proj",
    "up": r"up_proj|fc1|c_fc|dense_h_to_4h|intermediate\.dense|lin1|ffn|fc_in",
    "gate_up": r"gate_up_proj|mlp\.Wi",
    "down": r"down_proj|fc2|c_proj|dense_4h_to_h|output\.dense|lin2|ffn_output|fc_out|mlp\.Wo",
}
_IN_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_NOT_OFFERED = re.compile(r"(^|\.)(experts|router)(\.|$)")  # a token passes few of them, and a count says nothing
# model types whose fused map is all of q, then all of k, then all of v; and gate, then up
_CONTIGUOUS = ("gpt2", "modernbert", "mpt", "phi3", "gpt_bigcode")
_HALVES = ("phi3",)


def find_kinds(model: Any, head: tuple[str, ...]) -> dict[str, TargetModule]:
    """The kinds of ``model`` with the place of each, without what is in its ``head``; empty where no name is known.

    Where several places have names of one kind (the towers of a model for text and pictures), the kind is the place
    that is there most often.
    """
    places = _places(model, head)
    found: dict[str, TargetModule] = {}
    for table, inside in ((_ATTENTION, True), (_FEED_FORWARD, False)):
        for kind, names in table.items():
            ending = re.compile(rf"(?:^|\.)(?:{names})$")
            fits = [p for p in places if ending.search(p) and bool(_IN_ATTENTION.search(p)) == inside]
            if fits:
                found[kind] = TargetModule(max(fits, key=lambda p: len(places[p])))
    for kind in ("qkv", "gate_up"):
        if kind in found:
            found |= _parts(kind, found[kind].path, model, places[found[kind].path])
    order = [*_ATTENTION, *_FEED_FORWARD]
    return {kind: found[kind] for kind in order if kind in found}


def kinds_of_peft(model: Any, head: tuple[str, ...]) -> dict[str, TargetModule]:
    """The maps that PEFT's table names for this type of model, each a kind of its own; empty where it has none."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    names = TABLE.get(model.config.model_type, ())
    found: dict[str, TargetModule] = {}
    places = _places(model, head)
    for name in names if isinstance(names, (list, tuple)) else ():
        fits = [p for p in places if p.endswith(f".{name}")]
        for place in fits:
            kind = name if len(fits) == 1 else place.rpartition("}.")[2].replace(".", "_")
            found[kind] = TargetModule(place)
    return found


def default_kinds(found: dict[str, TargetModule]) -> tuple[str, ...]:
    """q and v, else the fused map; empty where the model has neither."""
    for wanted in (("q", "v"), ("qkv",)):
        if all(kind in found for kind in wanted):
            return wanted
    return ()


def linear_places(model: Any) -> list[str]:
    """Where linear maps are in the blocks, for a message."""
    return list(_places(model, ()))


def _places(model: Any, head: tuple[str, ...]) -> dict[str, list[str]]:
    """The names of linear maps inside blocks, by what they are with ``{stage}`` and ``{layer}`` for their numbers."""
    within = tuple(f"{name}." for name in head)
    places: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if not is_linear(module) or f"{name}.".startswith(within or "\0") or _NOT_OFFERED.search(name):
            continue
        parts = name.split(".")
        numbers = [i for i, part in enumerate(parts) if part.isdigit()]
        if not 1 <= len(numbers) <= 2 or numbers[-1] == len(parts) - 1:
            continue
        parts[numbers[-1]] = "{layer}"
        if len(numbers) == 2:
            parts[numbers[0]] = "{stage}"
        places.setdefault(".".join(parts), []).append(name)
    return places


def _parts(kind: str, place: str, model: Any, names: list[str]) -> dict[str, TargetModule]:
    """The parts of the fused map at ``place`` by kind, where the order of its rows is known."""
    config = model.config.get_text_config()
    rows, _ = linear_shape(model.get_submodule(names[0]))
    if kind == "gate_up":
        return _slices(place, {"gate": rows // 2, "up": rows // 2}) if config.model_type in _HALVES else {}
    if config.model_type not in _CONTIGUOUS:
        return {}
    if config.model_type == "gpt_bigcode" and not config.multi_query:  # then head by head
        return {}
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    keys = width if config.model_type == "gpt_bigcode" else width * shared
    sizes = {"q": width * config.num_attention_heads, "k": keys, "v": keys}
    return _slices(place, sizes) if sum(sizes.values()) == rows else {}


def _slices(place: str, sizes: dict[str, int]) -> dict[str, TargetModule]:
    unit = math.gcd(*sizes.values())
    of, at, found = sum(sizes.values()) // unit, 0, {}
    for kind, size in sizes.items():
        found[kind] = TargetModule(place, at // unit, of, size // unit)
        at += size
    return found
