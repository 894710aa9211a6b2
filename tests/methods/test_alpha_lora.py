"""α-LoRA: the trace of the released layer and loop, met by the suite's own loop; when α steps happen; what they see."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from tests.support.paths import ORACLES
from uora_bench.config.cell import HELD_OUT
from uora_bench.config.compose import compose
from uora_bench.contract.models import inject, make_method, roberta, tokens
from uora_bench.data import batching
from uora_bench.errors import UserError
from uora_bench.execution.trackers import Tracker
from uora_bench.methods.base import Auxiliary
from uora_bench.models.heads import head_parameters
from uora_bench.tasks import create_task
from uora_bench.tasks.base import Encoded
from uora_bench.training import trainer
from uora_bench.training.auxiliary import AuxiliarySteps
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.util.signals import StopRequest


@pytest.fixture(scope="module")
def trace():
    folder = ORACLES / "alpha_lora"
    return json.loads((folder / "T5.json").read_text()), load_file(folder / "T5.safetensors")


def cell_of(*words, **changes):
    cell = compose(["method=alpha_lora", "task=glue/rte", "recipe=none", *words]).cell
    return replace(cell, trainer=replace(cell.trainer, precision="float32", **changes))


def split(ids, labels):
    rows = [row.tolist() for row in ids.reshape(-1, ids.shape[-1])]
    lengths = np.full(len(rows), ids.shape[-1], dtype=np.int64)
    return Encoded({"input_ids": rows}, labels.reshape(-1).numpy(), lengths, {"input_ids": 1})


def in_order(lengths, batch_size, window, seed, epoch):
    """The batches as the rows lie, as in the trace."""
    return [np.arange(i, i + batch_size) for i in range(0, len(lengths), batch_size)]


def test_the_released_loop_is_met_by_the_trainer(trace, tmp_path, monkeypatch):
    facts, data = trace
    config = {k: v for k, v in facts["config"].items() if v is not None}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config)).double()
    model.load_state_dict({k[5:]: v for k, v in data.items() if k.startswith("base.")})
    model.head_modules = ("classifier",)
    method = make_method(
        "alpha_lora", rank=facts["r"], alpha_r=float(facts["alpha_r"]), mode="as_released", alpha_every=facts["T"],
        alpha_lr=facts["lr_alpha"], alpha_batch_size=data["V"].shape[1],
    )  # fmt: skip
    inject(method, model)
    for name, branch in method.branches.items():
        start = "init." + name.rsplit(".", 1)[0]
        branch.A.data.copy_(data[f"{start}.lora_A"].T)
        branch.B.data.copy_(data[f"{start}.lora_B"].T)
        torch.testing.assert_close(branch.alpha.detach(), data[f"{start}.alpha"], atol=0, rtol=0)
        assert method.layers[name.rsplit(".", 1)[0]].base.bias.abs().max() > 0, "or its scaling would not show"
    head = head_parameters(model)
    for parameter in head.values():
        parameter.requires_grad_(True)
    cell = cell_of(
        "task.max_length=12", epochs=facts["epochs"], batch_size=data["X"].shape[1], lr_adapter=facts["lr_adapter"],
        lr_head=facts["lr_adapter"], weight_decay_adapter=0.01, weight_decay_head=0.01, betas=(0.9, 0.99),
        warmup_ratio=0.0, length_bucket=0, decay_head_biases=True,
    )  # fmt: skip
    task = create_task(cell.task)
    monkeypatch.setattr(batching, "epoch_batches", in_order)
    seen: list[float] = []
    loss_of = task.loss

    def loss(*arguments):
        total, weight = loss_of(*arguments)
        seen.append((total / weight).item())
        return total, weight

    task.loss = loss
    splits = {"train": split(data["X"], data["Y"]), HELD_OUT: split(data["V"], data["W"])}
    splits["dev"] = splits[HELD_OUT]
    history = trainer.fit(
        cell, model, head, method, task, splits, Tracker(), Checkpoints(tmp_path, "0" * 16), Accelerator(cpu=True),
        StopRequest(),
    )  # fmt: skip
    expected, alphas = [], iter(data["alpha_losses"].tolist())
    for step, value in enumerate(data["train_losses"].tolist()):
        expected.append(value)
        if step % facts["batches_per_epoch"] % facts["T"] == 0:
            expected.append(next(alphas))
    assert seen == pytest.approx(expected, abs=1e-9)
    assert next(alphas, None) is None
    for name, branch in method.branches.items():
        end = "final." + name.rsplit(".", 1)[0]
        torch.testing.assert_close(branch.A.detach(), data[f"{end}.lora_A"].T, atol=1e-9, rtol=0)
        torch.testing.assert_close(branch.B.detach(), data[f"{end}.lora_B"].T, atol=1e-9, rtol=0)
        torch.testing.assert_close(branch.alpha.detach(), data[f"{end}.alpha"], atol=1e-9, rtol=0)
    for name, parameter in head.items():
        torch.testing.assert_close(parameter.detach(), data[f"final.{name}"], atol=1e-9, rtol=0)
    # and the record's time series ends where α ends
    last = history.epochs[-1].method["alpha"]
    for name, branch in method.branches.items():
        values = branch.alpha.detach().numpy()
        assert last[name]["mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert last[name]["q25"] == pytest.approx(np.quantile(values, 0.25), abs=1e-12)
        assert last[name]["std"] == pytest.approx(values.std(), abs=1e-12)
    assert len(history.epochs) == facts["epochs"]
    assert history.epochs[0].method != history.epochs[1].method


def steps(phase, every, shuffle=False, rows=10, size=4):
    spec = Auxiliary(every, size, phase, shuffle, (0.9, 0.99), [{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    lengths = np.arange(5, 5 + rows)
    encoded = Encoded({"input_ids": [[1] * n for n in lengths]}, np.zeros(rows, dtype=np.int64), lengths)
    return AuxiliarySteps(spec, encoded, 50, 0, Accelerator(cpu=True))


def test_a_step_is_due_when_its_phase_says():
    run, epoch = steps("run", 5), steps("epoch", 5)
    # two epochs of 12 steps
    assert [s for s in range(1, 25) if run.due(s, (s - 1) % 12 + 1)] == [5, 10, 15, 20]
    assert [s for s in range(1, 25) if epoch.due(s, (s - 1) % 12 + 1)] == [1, 6, 11, 13, 18, 23]


def test_rows_come_in_turn_and_start_over():
    stream = steps("run", 1)
    batches = [stream.next_batch().tolist() for _ in range(5)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_shuffled_rows_are_each_seen_once_in_a_pass_and_a_resume_goes_on_in_the_stream():
    stream = steps("run", 1, shuffle=True)
    passes = [[stream.next_batch().tolist() for _ in range(3)] for _ in range(2)]
    assert all(sorted(itertools.chain(*p)) == list(range(10)) for p in passes)
    assert passes[0] != passes[1]
    for done in range(6):
        again = steps("run", 1, shuffle=True)
        state = again.state()
        again.load_state({**state, "done": done})
        assert again.next_batch().tolist() == list(itertools.chain(*passes))[done]


def test_alone_its_parameters_rest_while_others_train_and_wake_for_the_step():
    stream = steps("run", 5)
    (parameter,) = stream.spec.param_groups[0]["params"]
    stream.rest(True)
    assert not parameter.requires_grad
    stream.rest(False)
    assert parameter.requires_grad


def test_the_mode_sets_the_switches_and_each_can_be_set_apart():
    def said(**options):
        config = make_method("alpha_lora", **options).config
        return tuple(config.said(n) for n in ("in_training", "shuffle", "phase"))

    assert said() == (False, True, "run")
    assert said(mode="as_released") == (True, False, "epoch")
    assert said(mode="as_released", in_training=False) == (False, False, "epoch")
    assert said(shuffle=False, phase="epoch") == (False, False, "epoch")
    assert make_method("alpha_lora", mode="as_released").config.holdout_stays
    assert not make_method("alpha_lora").config.holdout_stays


def test_fixed_has_no_second_optimisation_and_trains_loras_parameters():
    method, model = make_method("alpha_lora", mode="fixed", alpha_initial=0.7), roberta()
    targets = inject(method, model)
    assert method.auxiliary() is None
    assert method.count([t.shape for t in targets], {}) == make_method("lora").count([t.shape for t in targets], {})
    assert all((b.alpha == 0.7).all() for b in method.branches.values())
    assert {k.rsplit(".", 1)[1] for k in method.adapter_state()} == {"A", "B", "alpha"}


def test_alpha_scales_weight_and_bias():
    plain, model, method = roberta(), roberta(), make_method("alpha_lora", alpha_initial=0.5)
    inject(method, model)
    for layer in plain.roberta.encoder.layer:
        for linear in (layer.attention.self.query, layer.attention.self.value):
            torch.nn.init.normal_(linear.bias)
    for ours, theirs in zip(model.roberta.encoder.layer, plain.roberta.encoder.layer, strict=True):
        for name in ("query", "value"):
            linear = getattr(theirs.attention.self, name)
            getattr(ours.attention.self, name).base.bias.data.copy_(linear.bias)
            linear.weight.data.mul_(0.5)
            linear.bias.data.mul_(0.5)
    inputs = tokens(model)
    torch.testing.assert_close(model(**inputs).logits, plain(**inputs).logits, atol=1e-12, rtol=0)
    method.merge()
    torch.testing.assert_close(model(**inputs).logits, plain(**inputs).logits, atol=1e-12, rtol=0)


def test_no_start_value_is_one_normal_draw_for_all_entries():
    values = set()
    for seed in (0, 1):
        method = make_method("alpha_lora", alpha_initial=None)
        inject(method, roberta(), seed=seed)
        drawn = torch.cat([b.alpha.detach() for b in method.branches.values()])
        assert (drawn == drawn[0]).all()
        values.add(drawn[0].item())
    assert len(values) == 2


def test_the_low_rank_part_is_no_adapter_of_its_own():
    method = make_method("alpha_lora")
    inject(method, roberta())
    with pytest.raises(UserError, match="rescales"):
        next(iter(method.branches.values())).factors()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"alpha_every": 0}, "alpha_every=0 must be at least 1"),
        ({"alpha_batch_size": 0}, "alpha_batch_size"),
        ({"holdout": 1.5}, "at most 1"),
        ({"alpha_lr": -1.0}, "at least 0"),
        ({"alpha_betas": [0.9]}, "two numbers"),
        ({"rank": 0}, "rank"),
    ],
)
def test_impossible_options_are_refused(option, message):
    with pytest.raises(UserError, match=message):
        make_method("alpha_lora", **option)


def test_the_held_out_share_is_part_of_the_cell_whoever_asks_for_it():
    def holdout(*words):
        cell = compose(["task=glue/rte", "recipe=none", *words]).cell
        return cell.holdout, cell.canonical()["trainer"].get("holdout"), cell.cell_id("x")

    own, given = holdout("method=alpha_lora"), holdout("method=alpha_lora", "trainer.holdout=0.2")
    assert own == given
    assert own[:2] == (0.2, 0.2)
    assert holdout("method=alpha_lora", "method.holdout=0.2", "trainer.holdout=0.1")[:2] == (0.1, 0.1)
    assert holdout("method=lora")[:2] == (0.0, None)
    assert holdout("method=lora", "trainer.holdout=0.2")[:2] == (0.2, 0.2)
    assert holdout("method=lora") == holdout("method=lora", "trainer.holdout=0")
