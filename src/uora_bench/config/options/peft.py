"""Options of ``method=peft``: what a user may say of a PEFT tuner, what the suite sets itself, what it cannot carry.

Everything here is decided from names and values alone, before a model exists. PEFT itself is imported only where its
own configuration classes are asked (`tuner`).
"""

from __future__ import annotations

import copy
import re
import types
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.base import MethodOptions, refuse_no_modules
from uora_bench.errors import UserError, nearest
from uora_bench.util.schema import convert

if TYPE_CHECKING:
    from peft import PeftConfig

ADAPTER = "default"  # PEFT's name of its first adapter; a cell has no second
# what PEFT raises on values and models it does not take
PEFT_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    AssertionError,
    ImportError,
    OSError,
)

SUITE_SETS = {
    "task_type": "it follows from the task",
    "inference_mode": "a cell trains",
    "base_model_name_or_path": "it is backbone=",
    "revision": "it is backbone=",
    "modules_to_save": "the task head is the suite's and always trained",
    "fan_in_fan_out": "it follows from the adapted modules",
    "peft_type": "it is peft.type",
    "auto_mapping": "PEFT writes it",
    "peft_version": "PEFT writes it",
}
REFUSED_TYPES = {
    "xlora": "it mixes LoRA adapters that were trained before, and a cell starts from none",
    "poly": "it routes each example by its task, and a cell has one task",
    "multitask_prompt_tuning": "it needs each example's task, and a cell has one task",
    "cpt": "it needs a prompt tokenised by hand and its own loss over labels, which a task here does not pass on",
    "shadow": "its second network is trained by a loss on the labels inside the forward pass, which sees none here",
}
REFUSED_FIELDS = {
    "arrow_config": "it routes between adapters that were trained before",
    "eva_config": "it needs activations collected before training",
    "corda_config": "it needs activations collected before training",
    "lora_ga_config": "it needs gradients collected before training",
    "alora_invocation_tokens": "it needs the position of an invocation sequence in every input",
    "monteclora_config": "its buffered samples are not part of a checkpoint, so a resumed run would differ",
    "generator_seed": "its private generator is not part of a checkpoint, so a resumed run would differ",
    "sample_at_inference": "scores would be random",
    "trainable_token_indices": "tokens are a type of their own, peft.type=trainable_tokens",
    "layer_replication": "it changes the backbone's architecture",
    "megatron_config": "the suite does not run Megatron",
}
REFUSED_VALUES = {
    ("init_lora_weights", "eva"): REFUSED_FIELDS["eva_config"],
    ("init_lora_weights", "corda"): REFUSED_FIELDS["corda_config"],
    ("init_lora_weights", "lora_ga"): REFUSED_FIELDS["lora_ga_config"],
}
# types that decide themselves where they sit: method.target_modules has no meaning for them
OWN_PLACE = ("ln_tuning", "trainable_tokens", "adaption_prompt")
# types that train virtual tokens or a prefix instead of layers
PROMPTS = ("prompt_tuning", "p_tuning", "prefix_tuning", "cartridge")


@dataclass(frozen=True, kw_only=True)
class PeftOptions(MethodOptions):
    """Options of ``method=peft``, any tuner of the PEFT library.

    ``type``: PEFT's name of the tuner in lower case. ``target_modules``: what it adapts (None: the backbone's default).
    ``fields``: of that type's PEFT configuration; ``peft.<field>`` on the command line.
    """

    type: str
    target_modules: tuple[str, ...] | None
    fields: dict[str, Any]

    def __post_init__(self) -> None:
        if self.type in REFUSED_TYPES:
            raise UserError(
                f"peft.type={self.type} is not offered: {REFUSED_TYPES[self.type]}; choose another peft.type"
            )
        for name, value in self.fields.items():
            if name in SUITE_SETS:
                raise UserError(f"peft.{name} is set by the suite ({SUITE_SETS[name]}); drop it")
            if name == "targets":
                raise UserError(
                    "'peft.targets' is method.target_modules (q, v, …) or peft.target_modules (names in the model)"
                )
            if name in REFUSED_FIELDS and value not in (None, False):
                raise UserError(f"peft.{name} is not offered: {REFUSED_FIELDS[name]}; drop it")
            if isinstance(value, str) and (name, value) in REFUSED_VALUES:
                raise UserError(
                    f"peft.{name}={value} is not offered: {REFUSED_VALUES[name, value]}; take another value"
                )
        for name in ("target_modules", "exclude_modules", "feedforward_modules"):
            if isinstance(self.fields.get(name), str):
                try:
                    re.compile(self.fields[name])
                except re.error as error:
                    raise UserError(f"peft.{name}='{self.fields[name]}' is no regular expression: {error}") from None
        if self.target_modules is not None:
            if "target_modules" in self.fields:
                raise UserError(
                    "method.target_modules and peft.target_modules both say what is adapted; give one of them"
                )
            if not self.takes_modules:
                raise UserError(f"peft.type={self.type} does not sit on method.target_modules; drop them (null)")
            refuse_no_modules(self.target_modules)
        if self.type in PROMPTS:
            tokens = self.fields.get("num_virtual_tokens")
            if tokens is None:
                raise UserError(
                    f"peft.type={self.type} needs the number of its virtual tokens; set peft.num_virtual_tokens=20"
                )
            if convert(int, tokens, "peft.num_virtual_tokens") < 1:
                raise UserError(f"peft.num_virtual_tokens={tokens} must be at least 1")

    @property
    def takes_modules(self) -> bool:
        """Whether ``method.target_modules`` says where it sits."""
        return not (self.type in (*PROMPTS, *OWN_PLACE) or "target_modules" in self.fields)

    @property
    def adapts(self) -> tuple[str, ...] | None:
        return self.target_modules if self.takes_modules else ()

    @property
    def defines_update(self) -> dict[str, Any]:
        """Every field of PEFT's configuration, its defaults too, but dropout: what each means, only PEFT knows."""
        found = tuner(self)
        config = found.config(target_modules=["any"]) if self.takes_modules else found.config()
        said = {f"peft.{k}": v for k, v in plain_config(config).items() if not k.endswith("dropout")}
        return {"peft.type": self.type, **said}

    @property
    def extra_tokens(self) -> int:
        return int(self.fields["num_virtual_tokens"]) if self.type in PROMPTS else 0

    def check_library(self) -> None:
        """Ask PEFT what it says of this type and these fields; imports PEFT, which takes seconds."""
        tuner(self)


@dataclass(frozen=True)
class Tuner:
    """One PEFT type with the user's fields: ``kind`` is its name in lower case, ``cls`` what PEFT builds of it."""

    kind: str
    config_class: type[PeftConfig]
    cls: Any
    fields: dict[str, Any]
    takes_modules: bool

    @property
    def prompts(self) -> bool:
        """Whether it trains virtual tokens or a prefix instead of layers."""
        return self.kind in PROMPTS

    def has(self, name: str) -> bool:
        return name in {f.name for f in fields(self.config_class)}

    def config(self, **values: Any) -> Any:
        """PEFT's configuration: the user's fields under ``values``, as far as this type has such a field.

        Raises:
            UserError: when PEFT refuses the values, or warns that one of them has no effect.
        """
        given = copy.deepcopy(self.fields)  # PEFT writes into what it is given
        if self.kind == "adalora" and "total_step" not in given:
            # the number of steps comes with `bind`; until then the least that PEFT takes
            given["total_step"] = int(given.get("tinit", 0)) + int(given.get("tfinal", 0)) + 1
        given = {"progressbar": False, **given, "inference_mode": False, **values}
        given = {k: v for k, v in given.items() if self.has(k)}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                config = self.config_class(**given)
            except PEFT_ERRORS as error:
                raise UserError(f"peft.type={self.kind}: PEFT refuses these fields: {one_line(error)}") from None
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                raise UserError(f"peft.type={self.kind}: {one_line(warning.message)}")
        return config


def tuner(options: PeftOptions) -> Tuner:
    """The `Tuner` that ``options`` ask for.

    Raises:
        UserError: for an unknown type or field, a value of the wrong type, or one that PEFT refuses.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    kind = options.type
    known = {t.value.lower(): t for t in PEFT_TYPE_TO_CONFIG_MAPPING}
    if kind not in known:
        raise UserError(f"unknown peft.type '{kind}'{nearest(kind.lower(), known, limit=60)}")
    found = Tuner(
        kind,
        PEFT_TYPE_TO_CONFIG_MAPPING[known[kind]],
        PEFT_TYPE_TO_TUNER_MAPPING[known[kind]],
        dict(options.fields),
        options.takes_modules,
    )
    names = {f.name for f in fields(found.config_class) if f.init}
    hints = _hints(found.config_class)
    for name, value in options.fields.items():
        if name not in names:
            offered = [f"peft.{n}" for n in names - SUITE_SETS.keys() - REFUSED_FIELDS.keys()]
            raise UserError(f"peft.type={kind} has no field 'peft.{name}'{nearest(f'peft.{name}', offered)}")
        if _checkable(hints.get(name)):
            convert(hints[name], value, f"peft.{name}")
    config = found.config(target_modules=["any"]) if options.takes_modules else found.config()
    if kind == "adalora" and not 0 < config.target_r < config.init_r:
        raise UserError(f"peft.target_r={config.target_r} must be above 0 and below peft.init_r={config.init_r}")
    return found


def plain_config(config: Any) -> dict[str, Any]:
    """Every field of PEFT's ``config`` that says what was trained and holds something, as JSON-able values."""
    skipped = SUITE_SETS.keys() | {"target_modules", "progressbar", "rank_pattern" if _allocates(config) else ""}
    return {k: _plain(v) for k, v in sorted(config.to_dict().items()) if k not in skipped and v not in (None, {})}


def one_line(error: Any) -> str:
    """The message of ``error`` without line breaks, cut to a length one can read."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} …"


def _allocates(config: Any) -> bool:
    return hasattr(config, "target_r")  # AdaLoRA writes its ranks there while it trains


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path) or not isinstance(value, (str, int, float, bool, type(None))):
        return str(value)
    return value


def _hints(config_class: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(config_class)
    except NameError:  # an annotation that only exists for type checkers: PEFT's own checks are then the only ones
        return {}


def _checkable(hint: Any) -> bool:
    """Whether `convert` understands ``hint``: plain values, and unions and containers of them.

    Not the literals: PEFT's name patterns among them (``pissa_niter_[number of iters]``), and it checks them itself.
    """
    if hint in (int, float, bool, str, dict, type(None)):
        return True
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, list, tuple, dict):
        return all(_checkable(a) for a in typing.get_args(hint))
    return False
