"""Dropout is paired: at one seed and step every method trains under the same masks, whatever other passes draw."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.short_fit import ID, short_fit
from uora_bench.config import registry
from uora_bench.training import cpu_ops, trainer
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.util.seeds import own_stream

DROPPING = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
EVERY_OTHER = {"mode": "held_out", "alpha_every": 2, "alpha_batch_size": 8}
VARIANTS = {name: (name, {}) for name in registry.choices("method") if name != "peft"} | {
    "alpha_lora held_out": ("alpha_lora", EVERY_OTHER),
    "alpha_lora as_released": ("alpha_lora", {**EVERY_OTHER, "mode": "as_released"}),
    "lora on up": ("lora", {"target_modules": "[up]"}),
    "uora authors": ("uora", {"timing": "authors", "tau": 1.0}),
    "uora per event": ("uora", {"fresh": "per_event", "tau": 1.0, "periodic": 2}),
    "peft adalora": ("peft", {"type": "adalora"}),
}


class Masks:
    """What the dropout modules of a model zeroed in its training passes, pass by pass."""

    def __init__(self, ops: str) -> None:
        self.ops, self.seen, self.training = ops, [], False

    def watch(self, model: nn.Module, method) -> None:
        if self.ops == "auto":
            assert set(cpu_ops.install(model)) == {"attention", "dropout"}
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.register_forward_hook(self._note)
        before, after = method.before_forward, method.after_step

        def begin(step, first):
            self.training = True
            return before(step, first)

        def end(step):
            self.training = False
            return after(step)

        method.before_forward, method.after_step = begin, end

    def _note(self, module, inputs, output) -> None:
        if self.training and module.training:
            self.seen.append(output == 0)


def masks_of(folder, variant, ops, **changes):
    name, options = VARIANTS[variant]
    masks = Masks(ops)
    settings = {"max_steps": 4, "micro_batch_size": 5, **changes}
    short_fit(folder, name, DROPPING, options, masks.watch, **settings)
    return masks.seen


@pytest.mark.parametrize("ops", ["auto", "library"])
def test_every_method_trains_under_the_same_masks(tmp_path, ops):
    first = masks_of(tmp_path / "first", "lora", ops)
    assert len({str(mask.flatten()[:64].tolist()) for mask in first}) > 4 * 2, "every pass draws its own"
    for number, variant in enumerate(VARIANTS):
        masks = masks_of(tmp_path / str(number), variant, ops)
        assert len(masks) == len(first), variant
        assert all(map(torch.equal, masks, first)), variant


def test_auxiliary_passes_draw_other_masks_each_time_and_the_same_after_a_restart(tmp_path, monkeypatch):
    def seen(folder, stop_at=None):
        drawn, step = [], trainer._Fit._auxiliary_step

        def watched(self, auxiliary):
            with monkeypatch.context() as patch:
                real = nn.functional.dropout
                patch.setattr(nn.functional, "dropout", lambda *a, **k: drawn[-1].append(y := real(*a, **k)) or y)
                drawn.append([])
                step(self, auxiliary)
            if self.history.steps == stop_at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(trainer._Fit, "_auxiliary_step", watched)
            options = {"alpha_every": 2, "alpha_batch_size": 8}
            _, method, rows = short_fit(folder, "alpha_lora", DROPPING, options, epochs=2, checkpoint_every=1)
        return [torch.cat([(y == 0).flatten() for y in one]) for one in drawn], method, rows

    whole, method, rows = seen(tmp_path / "whole")
    assert len(whole) == 5
    assert not any(torch.equal(a[:500], b[:500]) for i, a in enumerate(whole) for b in whole[:i])
    with pytest.raises(KeyboardInterrupt):
        seen(tmp_path / "cut", stop_at=6)
    assert Checkpoints(tmp_path / "cut", ID).latest()[0] is not None
    rest, again, later = seen(tmp_path / "cut")
    assert len(rest) < len(whole)
    assert all(map(torch.equal, rest, whole[-len(rest) :]))
    assert later == rows[-len(later) :]
    assert all(map(torch.equal, method.adapter_state().values(), again.adapter_state().values()))


def test_an_own_stream_leaves_the_global_one_where_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with own_stream(7, torch.device("cpu")):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with own_stream(7, torch.device("cpu")):
        assert torch.equal(torch.rand(3), inside)
    assert not torch.equal(inside, expected)
