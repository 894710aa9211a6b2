"""Any tuner of the installed PEFT library, trained, counted and recorded by the suite like every other method.

PEFT makes the layers and their maths; the loop, the head, the seeds, the checkpoints and the files are the suite's.
``docs/methods/peft.md`` says which types are offered and why the rest is not.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from uora_bench.config.options import MethodOptions
from uora_bench.config.options import peft as peft_options
from uora_bench.config.options.peft import ADAPTER, PeftOptions
from uora_bench.errors import UserError
from uora_bench.methods import peft_counts, peft_files, peft_places, peft_prompts
from uora_bench.methods.base import Method, Target, TargetShape, freeze
from uora_bench.methods.peft_places import named_tensors
from uora_bench.methods.peft_schedules import Schedule, schedule_of

# what these freeze comes from seeds alone; what others freeze may come from the backbone's weights (an SVD, a norm)
_FROM_SEED = ("vera", "pvera", "randlora", "boft", "oft", "adalora", "unilora")


class Peft(Method):
    """``peft.type`` on the exact modules of ``method.target_modules``, or where that type itself belongs."""

    name = "peft"
    Config = PeftOptions
    config: PeftOptions

    def __init__(self, options: MethodOptions, seed: int) -> None:
        super().__init__(options, seed)
        self.tuner = peft_options.tuner(self.config)
        self.schedule = Schedule()
        self._kept: list[tuple[Tensor, Tensor]] = []  # while merged: the frozen tensors as they were

    @property
    def mergeable(self) -> bool:
        """Whether PEFT can merge (and unmerge) every layer it made: tried on one of each class when they were made."""
        return self._mergeable

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int | None:
        """`peft_counts.count`: a closed form for plain settings of common types, else None."""
        return peft_counts.count(self.tuner, shapes)

    # --- onto the model -------------------------------------------------------------------------------------------

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Freeze ``model`` and let PEFT put the tuner on it, in place.

        Raises:
            UserError: when PEFT cannot adapt these targets or this model, in PEFT's own words.
        """
        freeze(model)
        self._model: Any = model
        kind = self.tuner.kind
        peft_places.refuse_slices(model, targets)
        places = peft_places.places(self.tuner, model, targets)
        before = peft_places.Before(model, places)
        with peft_places.on_meta(kind, model, places) as is_meta, peft_places.seeded(generator):
            try:
                built = self._build(places, targets)
            except peft_options.PEFT_ERRORS as error:
                text = peft_options.one_line(error)
                if is_meta:
                    raise UserError(
                        f"peft.type={kind} computes its start from the weights, which a dry run does not load; drop "
                        f"dry_run=true (PEFT says: {text})"
                    ) from error
                raise UserError(f"peft.type={kind} cannot be put on this model: PEFT says: {text}") from error
        peft_places.check(self.tuner, model, targets)
        before.keep_mode(model)
        peft_places.widen(model, before)
        self._names, self._start = before.added(model)
        # PiSSA and others take their start out of the frozen weights; trained biases are the backbone's too
        self._changes = any(n in self._names and id(t) in before.tensors for n, t in named_tensors(model))
        self._trained = [p for n, p in model.named_parameters() if p.requires_grad and n in self._names]
        if not self._trained:
            raise UserError(f"peft.type={kind} with these fields trains nothing; set others")
        if not self.tuner.prompts and kind != "adaption_prompt":
            self.schedule = schedule_of(kind, built, "total_step" in self.config.fields)
        whole = all(p.is_floating_point() for p in model.parameters())  # PEFT would round a quantised base again
        self._mergeable = not is_meta and whole and self._try_merge()

    def _build(self, places: Any, targets: Sequence[Target]) -> Any:
        """PEFT's tuner or prompt wrapper, put on the model."""
        tuner, model = self.tuner, self._model
        if tuner.prompts:
            wrapper = peft_prompts.wrap(model, tuner)
            self._peft_config = wrapper.peft_config[ADAPTER]
            return wrapper
        follows = peft_places.follows(tuner, model, places, targets)
        self._peft_config = config = tuner.config(**follows)
        if tuner.kind == "lily":
            config.target_modules = places  # a set would forget the order: see `peft_places.places`
        # what inject_adapter_in_model does; but the tuner object is kept, for AdaLoRA has to be asked while it trains
        built = tuner.cls(model, {ADAPTER: config}, ADAPTER)
        if hasattr(built, "_cast_adapter_dtype"):
            built._cast_adapter_dtype(ADAPTER, True)
        for name, parameter in model.named_parameters():
            if name.endswith(f".ranknum.{ADAPTER}"):
                parameter.requires_grad_(False)  # moved to another dtype or device, PEFT leaves AdaLoRA's rank open
        return built

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that PEFT trains, without the head."""
        return list(self._trained)

    # --- training -------------------------------------------------------------------------------------------------

    def bind(self, optimizer: torch.optim.Optimizer, total_steps: int | None = None) -> None:
        """Tell the tuner's schedule the number of optimizer steps; raises as `Schedule.bind`."""
        self.schedule.bind(total_steps)

    def regulariser(self) -> Tensor | None:
        """The loss term of AdaLoRA or KaSA; None for other types."""
        return self.schedule.regulariser()

    def after_step(self, step: int) -> dict[str, Tensor | float]:
        """The call per step of AdaLoRA and AdaMSS; returns the scalars to log."""
        return self.schedule.after_step(step)

    def snapshot(self) -> dict[str, Any]:
        """The ranks of each target, where they change."""
        ranks = self.schedule.ranks()
        return {"ranks": ranks} if ranks else {}

    def report(self) -> dict[str, Any]:
        """PEFT's version, its configuration with every default resolved, and the final ranks where they change."""
        version = importlib.metadata.version("peft")
        config = peft_options.plain_config(self._peft_config)
        return {"peft": version, "type": self.tuner.kind, "config": config, **self.snapshot()}

    # --- files ----------------------------------------------------------------------------------------------------

    def adapter_state(self) -> dict[str, Tensor]:
        """All PEFT added to the model, trained or not, and what it changed of the backbone (PiSSA), by module path."""
        return {n: t for n, t in named_tensors(self._model) if n in self._names}

    def seed_tensors(self) -> set[str]:
        """What was frozen at values drawn from a seed, and is still as it was drawn."""
        if self.tuner.kind not in _FROM_SEED:
            return set()
        now = {n: t for n, t in self.adapter_state().items() if n in self._start}
        return {n for n, t in now.items() if peft_places.digest(t) == self._start[n]}

    def state(self) -> dict[str, Any]:
        """The adapter, and the importance scores of AdaLoRA or AdaMSS."""
        return {**super().state(), "schedule": self.schedule.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back, the importance scores included."""
        super().load_state(state)
        self.schedule.load_state(state["schedule"])

    def save_peft(self, folder: Path, task_type: str | None) -> None:
        """Write the tuner and the model's head as a folder that PEFT loads (`peft_files.save`).

        Raises:
            UserError: for prompts, which PEFT keeps as numbers made by a wrapper and not as layers; and as
                `peft_files.save`.
        """
        if self.tuner.prompts:
            raise UserError(f"peft.type={self.tuner.kind} is no set of layers; use format=native")
        peft_files.save(self._model, self._peft_config, folder, task_type)

    # --- merging and turning off ----------------------------------------------------------------------------------

    @contextmanager
    def turned_off(self) -> Iterator[None]:
        """Within it PEFT's layers are disabled, which gives back the model that `inject` was given.

        Raises:
            UserError: when PEFT changes tensors of the backbone, or adds virtual tokens in place of layers.
        """
        layers = self._layers()
        if self._changes or not layers:
            why = "changes tensors of the backbone" if self._changes else "adds no layers"
            raise UserError(f"peft.type={self.tuner.kind} {why}, and cannot be turned off")
        trained = [(p, p.requires_grad) for p in self._model.parameters()]  # PEFT opens its parameters again
        try:
            for layer in layers:
                layer.enable_adapters(False)
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)
            for parameter, was in trained:
                parameter.requires_grad_(was)

    def _layers(self) -> list[Any]:
        return [m for m in self._model.modules() if isinstance(m, BaseTunerLayer)]

    @torch.no_grad()
    def merge(self) -> None:
        """Fold every layer into the frozen weights, as PEFT does; nothing where not `mergeable`, or a second time."""
        if not self._kept and self._mergeable:
            self._fold(self._layers())

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the frozen tensors back (kept, not recomputed: PEFT's subtraction leaves rounding behind)."""
        if self._kept:
            self._unfold(self._layers())

    def _fold(self, layers: Sequence[Any]) -> None:
        bases = [layer.get_base_layer() for layer in layers]
        frozen = {id(t): t for base in bases for t in (*base.parameters(), *base.buffers())}
        self._kept = [(t, t.data) for t in frozen.values()]
        for tensor, data in self._kept:
            tensor.data = data.clone()  # PEFT adds in place
        for layer in layers:
            layer.merge()

    def _unfold(self, layers: Sequence[Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # OSF warns that it keeps no originals; we do
            for layer in layers:
                layer.unmerge()
                layer.merged_adapters.clear()
        for tensor, data in self._kept:
            tensor.data = data
        self._kept = []

    @torch.no_grad()
    def _try_merge(self) -> bool:
        one_of_each = list({type(layer): layer for layer in self._layers()}.values())
        try:
            self._fold(one_of_each)
            self._unfold(one_of_each)
        except (NotImplementedError, ValueError):  # how PEFT says that a layer does not merge
            for tensor, data in self._kept:
                tensor.data = data
            self._kept = []
            return False
        return bool(one_of_each)
