"""method=peft: every tuner of the installed PEFT trains here, as it does there, or is refused with a reason."""

from __future__ import annotations

import functools
import warnings

import peft
import pytest
import torch
from peft.utils import ModulesToSaveWrapper

from tests.support.command_line import finish, one_line, only_record, start
from tests.support.peft_types import (
    CLOSED_FORM,
    FIELDS,
    MUST_TRAIN,
    PROMPT,
    WIDTH,
    injected,
    logits,
    mistake,
    mistake_on_model,
    through_a_file,
    train,
)
from uora_bench.cli.main import main
from uora_bench.config.compose import COMMAND_LINE, compose
from uora_bench.contract.models import backbone_config, gpt2, labelled, make_method, roberta
from uora_bench.errors import UserError
from uora_bench.methods import peft_places
from uora_bench.methods.base import backbone_parameters
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import find_targets
from uora_bench.records.record import read_record

EVERY_TYPE = sorted(t.value.lower() for t in peft.PeftType)


# --- every type -------------------------------------------------------------------------------------------------------


# one that is new in PEFT and trains has to be listed
@pytest.mark.parametrize("kind", [kind for kind in EVERY_TYPE if kind not in MUST_TRAIN])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_type_that_does_not_train_is_refused_with_a_reason(kind):
    reason = mistake_on_model(kind)
    assert reason.startswith(f"peft.type={kind} ")
    assert len(reason) > len(kind) + 40


@pytest.mark.parametrize("kind", [kind for kind in EVERY_TYPE if kind in MUST_TRAIN])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_other_type_trains(kind):
    plain = dict(roberta(torch.float32).named_parameters())
    model, method, targets = injected(kind)
    opened = {id(p) for p in backbone_parameters(model).values() if p.requires_grad}
    assert opened == {id(p) for p in method.parameters()}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    expected = method.count([t.shape for t in targets], {})
    size = sum(p.numel() for p in method.parameters())
    assert expected == (size if kind in CLOSED_FORM else None)
    before = [p.detach().clone() for p in method.parameters()]
    method.bind(torch.optim.SGD(method.parameters(), lr=0.1), 10)
    assert all(torch.isfinite(torch.tensor(train(model, method, 2))))
    assert any(not torch.equal(b, p) for b, p in zip(before, method.parameters(), strict=True))
    frozen = {n: t for n, t in model.named_parameters() if id(t) not in opened}
    known = {n.replace(".base_layer", "").replace(".original_module", ""): t for n, t in frozen.items()}
    assert plain.keys() <= known.keys()
    assert all(torch.equal(known[n], p) for n, p in plain.items()), "the backbone and the head as they were"
    trained = logits(model)
    if method.mergeable:
        state = {k: v.clone() for k, v in method.adapter_state().items()}
        with torch.inference_mode():  # as the suite's merge check
            method.merge()
            merged = logits(model)
            method.unmerge()
        torch.testing.assert_close(merged, trained, atol=1e-5 * trained.abs().max().item(), rtol=0)
        assert torch.equal(logits(model), trained)
        assert all(torch.equal(known[n], p) for n, p in plain.items())
        assert all(torch.equal(state[k], v) for k, v in method.adapter_state().items())
    other, again, _ = injected(kind, seed=1)
    again.bind(torch.optim.SGD(again.parameters(), lr=0.1), 10)
    again.load_state(through_a_file(method.state()))
    assert torch.equal(logits(other), trained)
    assert again.report() == method.report()
    assert method.seed_tensors() < method.adapter_state().keys()


def on_a_skeleton(kind):
    """The method, a tiny RoBERTa without weights, and the targets in it."""
    backbone, head = backbone_config("tiny_roberta"), HeadSpec("AutoModelForSequenceClassification", {"num_labels": 3})
    method = make_method("peft", type=kind, fields={**FIELDS.get(kind, {})})
    model = backbones.skeleton(backbone, head)
    return method, model, find_targets(model, backbone, method.config.adapts)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dry_run_refuses_a_type_that_needs_the_weights():
    method, model, targets = on_a_skeleton("adamss")  # its subspaces are clusters of the weights
    with pytest.raises(UserError, match="a dry run does not load"):
        method.inject(model, targets, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", sorted(MUST_TRAIN - {"prompt_tuning", "p_tuning", "prefix_tuning", "cartridge"}))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_turned_off_a_type_with_layers_leaves_the_model_as_it_was(kind):
    bare = logits(roberta(torch.float32))
    model, method, _ = injected(kind)
    method.bind(torch.optim.SGD(method.parameters(), lr=0.1), 10)
    train(model, method, 2)
    adapted, opened = logits(model), [p.requires_grad for p in model.parameters()]
    with method.turned_off():
        assert torch.equal(logits(model), bare)
    assert torch.equal(logits(model), adapted)
    assert not torch.equal(adapted, bare)
    assert [p.requires_grad for p in model.parameters()] == opened


@pytest.mark.parametrize("kind", sorted(MUST_TRAIN - {"adamss"}))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dry_run_counts_what_a_run_trains(kind):
    method, model, targets = on_a_skeleton(kind)
    method.inject(model, targets, torch.Generator().manual_seed(0))
    real, full, places = on_a_skeleton(kind)
    full.to_empty(device="cpu")
    with torch.no_grad():
        [p.normal_(std=0.02, generator=torch.Generator().manual_seed(i)) for i, p in enumerate(full.parameters())]
    real.inject(full, places, torch.Generator().manual_seed(0))
    counts = [sum(p.numel() for p in m.parameters()) for m in (method, real)]
    assert counts[0] == counts[1]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == counts[0]


@pytest.mark.parametrize("kind", ["lora", "adalora", "vera", "ia3", "fourierft", "randlora", "ln_tuning"])
def test_conv1d_and_half_precision(kind):
    kinds = None if kind == "ln_tuning" else ("qkv", "down")
    model, method, targets = injected(kind, gpt2, torch.bfloat16, kinds=kinds)
    assert method.count([t.shape for t in targets], {}) in (None, sum(p.numel() for p in method.parameters()))
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    method.bind(torch.optim.SGD(method.parameters(), lr=0.1), 10)
    assert all(torch.isfinite(torch.tensor(train(model, method, 2))))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(logits(model)).all()


def test_a_slice_is_refused_and_the_whole_is_named():
    with pytest.raises(UserError, match=r"'q' is a part of .*c_attn; set method.target_modules=\[qkv\]"):
        injected("lora", gpt2)


def test_adaption_prompt_trains_where_peft_knows_the_architecture():
    model, method, _ = injected("adaption_prompt", gpt2)
    assert len(train(model, method, 2)) == 2
    assert {n.split(".")[-1] for n in method.adapter_state()} == {"adaption_prompt", "adaption_gate"}


# --- the same as PEFT by hand -----------------------------------------------------------------------------------------


def by_hand(config, make=roberta, seed=0):
    """PEFT's own model with the random numbers our injection draws."""
    model = make(torch.float32)
    with peft_places.seeded(torch.Generator().manual_seed(seed)):
        return peft.get_peft_model(model, config).eval()


def test_lora_is_pefts_to_the_bit():
    model, method, _ = injected("lora", lora_alpha=16, lora_dropout=0.0)
    other = by_hand(peft.LoraConfig(r=4, lora_alpha=16, target_modules=["query", "value"]))
    theirs = [p for p in other.parameters() if p.requires_grad]
    for own, reference in zip(method.parameters(), theirs, strict=True):
        assert torch.equal(own, reference)
        with torch.no_grad():
            noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(own.numel()))
            own.add_(noise), reference.add_(noise)
    out, expected = model(**labelled(model)), other(**labelled(model))
    assert torch.equal(out.logits, expected.logits)
    out.loss.backward(), expected.loss.backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(method.parameters(), theirs, strict=True))


def test_adalora_is_pefts_own_loop():
    steps, schedule = 20, {"init_r": 4, "target_r": 2, "tinit": 3, "tfinal": 5, "deltaT": 2, "orth_reg_weight": 0.3}
    model, method, _ = injected("adalora", **schedule)
    method.bind(torch.optim.SGD(method.parameters(), lr=0.1), steps)
    own = train(model, method, steps)
    # with a task type, for without one PEFT's wrapper goes past the forward pass that adds the regulariser
    config = peft.AdaLoraConfig(task_type="SEQ_CLS", total_step=steps, target_modules=["query", "value"], **schedule)
    other = by_hand(config).train()
    theirs = [p for n, p in other.named_parameters() if p.requires_grad and "classifier" not in n]
    optimizer = torch.optim.AdamW(theirs, lr=1e-2)
    expected = []
    for step in range(1, steps + 1):
        loss = other(**labelled(model, batch=4, seed=step)).loss  # with its regulariser
        loss.backward()
        optimizer.step()
        other.base_model.update_and_allocate(step)
        optimizer.zero_grad()
        expected.append(loss.item())
    assert own == pytest.approx(expected, rel=1e-6)
    masks = other.peft_config["default"].rank_pattern
    assert method.report()["ranks"] == {n.removesuffix(".lora_E.default"): sum(m) for n, m in masks.items()}
    assert sum(method.report()["ranks"].values()) == 2 * 4, "the budget: target_r for each of four targets"
    assert len(set(method.report()["ranks"].values())) > 1, "and not the same for all"
    for own_parameter, reference in zip(method.parameters(), theirs, strict=True):
        torch.testing.assert_close(own_parameter, reference, atol=1e-6, rtol=1e-5)
        assert torch.equal(own_parameter == 0, reference == 0)
    assert method.snapshot() == {"ranks": method.report()["ranks"]}


ASA = {"use_asa": True, "asa_target_subspaces": 3, "init_warmup": 2, "final_warmup": 10, "mask_interval": 2}


@pytest.mark.parametrize(("kind", "fields"), [("adalora", {"tinit": 2, "tfinal": 2}), ("adamss", ASA)])
@pytest.mark.parametrize("cut", [3, 11])
def test_a_resumed_run_allocates_alike(kind, fields, cut):
    def fresh(seed):
        model, method, _ = injected(kind, seed=seed, **fields)
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
        method.bind(optimizer, 12)
        return model, method, optimizer

    model, method, optimizer = fresh(0)
    train(model, method, cut, optimizer=optimizer)
    saved = through_a_file({"method": method.state(), "optimizer": optimizer.state_dict()})
    rest = train(model, method, 12 - cut, cut + 1, optimizer)
    other, again, second = fresh(1)
    again.load_state(saved["method"])
    second.load_state_dict(saved["optimizer"])
    assert train(other, again, 12 - cut, cut + 1, second) == rest
    assert all(torch.equal(a, b) for a, b in zip(method.parameters(), again.parameters(), strict=True))
    assert method.schedule.ranks() == again.schedule.ranks()
    assert min(method.schedule.ranks().values()) < max(4, 2) - (kind == "adamss"), "something was taken away"
    assert str(method.state()["schedule"]) == str(again.state()["schedule"])


def test_adaloras_schedule_must_fit_the_run():
    bind = functools.partial(torch.optim.SGD, [torch.nn.Parameter(torch.zeros(1))])
    _, method, _ = injected("adalora", tinit=6, tfinal=4)
    with pytest.raises(UserError, match=r"tinit=6 \+ peft.tfinal=4 leave none of 10 steps"):
        method.bind(bind(lr=0.1), 10)
    method.bind(bind(lr=0.1), 30)
    assert method.report()["config"]["total_step"] == 30
    _, method, _ = injected("adalora", total_step=20)
    method.bind(bind(lr=0.1), 40)
    assert method.report()["config"]["total_step"] == 20, "the user's"
    with pytest.raises(UserError, match=r"until step 20 .* the run has 10 steps"):
        method.bind(bind(lr=0.1), 10)


def test_what_an_initialisation_changes_of_the_backbone_is_kept_with_the_adapter():
    model, method, _ = injected("lora", init_lora_weights="pissa_niter_4")
    changed = {n for n in method.adapter_state() if n.endswith("base_layer.weight")}
    assert len(changed) == 4
    train(model, method, 2)
    assert not {n for n in injected("lora")[1].adapter_state() if "base_layer" in n}, "plain LoRA changes none"
    other, again, _ = injected("lora", seed=1, init_lora_weights="pissa_niter_4")
    again.load_adapter_state(method.adapter_state())
    assert torch.equal(logits(other), logits(model))


def test_kasas_two_terms_are_in_the_loss():
    _, method, _ = injected("lora", kasa_config={"beta": 0.5, "gamma": 0.25})
    term = method.regulariser()
    assert term > 0
    term.backward()
    assert any(p.grad is not None for p in method.parameters())
    assert injected("lora")[1].regulariser() is None


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning", "prefix_tuning"])
@pytest.mark.parametrize("make", [roberta, gpt2])
def test_prompts_are_pefts_and_the_head_stays_ours(kind, make):
    model, method, _ = injected(kind, make)
    task = peft.TaskType.SEQ_CLS if make is roberta else peft.TaskType.CAUSAL_LM
    config = peft.get_peft_config({"peft_type": kind.upper(), "task_type": task, **FIELDS[kind]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        other = by_hand(config, make)
    inputs = {**labelled(model), "attention_mask": torch.ones(3, 11, dtype=torch.long)}
    out, expected = model(**inputs), other(**inputs)
    longer = expected.logits.shape[1] - out.logits.shape[1]
    assert longer == (PROMPT if make is gpt2 and kind != "prefix_tuning" else 0)
    assert torch.equal(out.logits, expected.logits[:, longer:])
    assert torch.equal(out.loss, expected.loss)
    assert (out.logits - logits(make(torch.float32))).abs().max() > 1e-3, "the prompt must matter"
    assert not any(isinstance(m, ModulesToSaveWrapper) for m in model.modules())
    assert {n.split(".")[0] for n in method.adapter_state()} == {"prompt_encoder"}
    assert method.config.extra_tokens == PROMPT
    assert not method.mergeable
    out.loss.backward()
    assert all(p.grad is not None for p in method.parameters())
    if make is gpt2:
        options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        plain = {k: v for k, v in inputs.items() if k != "labels"}
        assert torch.equal(model.generate(**plain, **options), other.generate(**plain, **options))


# --- what a user may say ----------------------------------------------------------------------------------------------


def test_a_wrong_word_is_one_line_with_the_nearest_right_one():
    assert "did you mean 'adalora'?" in mistake("adalroa")
    assert "did you mean 'lora'?" in mistake("LORA")
    assert "did you mean 'peft.lora_alpha'?" in mistake(lora_alhpa=3)
    assert "must be a whole number" in mistake(r="four")
    assert "`r` should be a positive integer" in mistake_on_model(r=-1)
    assert "Unknown initialization" in mistake_on_model(init_lora_weights="pisa")
    assert "PEFT refuses" in mistake("oft", r=3, oft_block_size=2)
    assert "`r` is not used in AdaLora" in mistake("adalora", r=3), "what PEFT only warns of has no effect"
    with pytest.raises(UserError, match=r"'peft.targets' is method.target_modules"):
        make_method("peft", fields={"targets": ["q"]})
    assert "below peft.init_r=4" in mistake("adalora", init_r=4, target_r=4)
    assert "set peft.num_virtual_tokens" in mistake("prompt_tuning")


def test_what_the_suite_sets_or_a_cell_does_not_have_is_refused():
    for name in ("task_type", "inference_mode", "modules_to_save", "base_model_name_or_path"):
        assert "is set by the suite" in mistake(**{name: "x"})
    assert "activations collected" in mistake(init_lora_weights="eva")
    assert "not offered" in mistake(alora_invocation_tokens=[1])


def test_targets_and_target_modules():
    assert "give one of them" in mistake(kinds=("q",), target_modules=["query"])
    assert "does not sit on method.target_modules" in mistake("ln_tuning", kinds=("q",))
    assert "adapts nothing" in mistake(kinds=())
    assert "which is the task head's" in mistake_on_model(target_modules=["dense"])
    assert "is no regular expression" in mistake(target_modules="(query")
    assert "not found in the base model" in mistake_on_model(target_modules=["nowhere"])
    model, method, _ = injected("lora", target_modules="all-linear")
    wrapped = {n for n, m in model.named_modules() if hasattr(m, "base_layer")}
    assert len(wrapped) == 12
    assert not any(n.startswith("classifier") for n in wrapped)
    assert method.count([], {}) is None
    _, method, targets = injected("lora", kinds=("q", "up", "down"))
    assert {n.rsplit(".", 3)[0] for n in method.adapter_state()} == {t.path for t in targets}
    assert "which roberta.encoder.layer.0.attention.output.dense shares" in mistake_on_model("lily", kinds=("down",))


def test_all_linear_leaves_the_output_layer_out_as_peft_does():
    theirs = peft.get_peft_model(gpt2(torch.float32), peft.LoraConfig(target_modules="all-linear", r=8))
    wanted = sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    model, method, _ = injected("lora", gpt2, target_modules="all-linear", r=8)
    assert sum(p.numel() for p in method.parameters()) == wanted
    assert not hasattr(model.lm_head, "base_layer")
    assert method.mergeable


@pytest.mark.parametrize("modules", [["lm_head"], ["c_attn", "wte"]])
def test_a_weight_that_serves_in_two_places_is_refused_before_training(modules):
    with pytest.raises(UserError, match="shares its weight with") as caught:
        injected("lora", gpt2, target_modules=modules)
    assert "\n" not in str(caught.value)


def test_ia3_scales_the_input_of_a_feed_forwards_second_map():
    _, method, targets = injected("ia3", kinds=("k", "v", "down"))
    sizes = {n.split(".ia3_l")[0].rsplit(".", 1)[-1]: p.numel() for n, p in method.adapter_state().items()}
    assert sizes == {"key": WIDTH, "value": WIDTH, "dense": 48}
    assert method.count([t.shape for t in targets], {}) == 2 * (2 * WIDTH + 48)


def test_the_generator_alone_decides_the_start():
    states = []
    for noise, seed in ((0, 3), (1, 3), (0, 4)):
        torch.manual_seed(noise)
        states.append(injected("adalora", seed=seed)[1].adapter_state())
    same = [all(torch.equal(states[0][k], s[k]) for k in s) for s in states[1:]]
    assert same == [True, False]
    assert {k.rsplit(".", 2)[-2] for k in injected("adalora")[1].seed_tensors()} == {"ranknum"}


def test_the_command_line_reaches_any_field():
    words = ["method=peft", "peft.type=adalora", "peft.init_r=12", "peft.alpha_pattern.query=3", "task=tiny/nli"]
    composed = compose(words)
    assert composed.values["method"]["type"] == "adalora"
    assert composed.values["method"]["fields"] == {"init_r": 12, "alpha_pattern": {"query": 3}}
    assert composed.sources["method.fields.init_r"] == COMMAND_LINE
    ids = [
        compose(["method=peft", "task=tiny/nli", *more]).cell.cell_id("data")
        for more in (
            [],
            ["peft.type=lora", "method.target_modules=[q,v]"],
            ["peft.r=4"],
            ["method.fields.r=4"],
            ["peft.r=5"],
        )
    ]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    for word in ("peft.r=4", "method.fields.r=4"):
        with pytest.raises(UserError, match=r"peft\.r' is for method=peft|unknown key 'method\.fields\.r'"):
            compose(["method=lora", word])


# --- the command line -------------------------------------------------------------------------------------------------

SMALL = ("task=tiny/nli", "task.splits.train=train[:64]", "task.splits.dev=validation[:32]", "task.splits.test=null",
         "trainer.batch_size=8", "trainer.epochs=2", "trainer.eval_batch_size=32", "tracker=none")  # fmt: skip


@pytest.mark.slow
def test_adalora_from_the_command_line(tmp_path, root):
    words = ("peft.type=adalora", "peft.init_r=4", "peft.target_r=2", "peft.tinit=2", "peft.tfinal=4")
    result = finish(start(tmp_path, root, "method=peft", *words, *SMALL))
    assert result.returncode == 0, result.stderr
    record = read_record(only_record(tmp_path))
    assert record.counts.adapter == 8 * 4 * (96 + 96 + 1)
    assert record.method["config"]["total_step"] == 16
    assert sum(record.method["ranks"].values()) == 8 * 2
    assert record.epochs[0].method["ranks"].keys() == record.method["ranks"].keys()
    assert record.merge_error < 1e-3


def test_a_bad_type_from_the_command_line(tmp_path, root):
    line = one_line(finish(start(tmp_path, root, "method=peft", "peft.type=adalroa", *SMALL)))
    assert line == "error: unknown peft.type 'adalroa'; did you mean 'adalora'?"


def test_other_mistakes_from_the_command_line(capsys):
    for words, part in (
        (("method=peft", "peft.rnak=4"), "has no field 'peft.rnak'"),
        (("method=lora", "peft.r=4"), "'peft.r' is for method=peft, and this is method=lora"),
    ):
        assert main([*words, *SMALL]) == 2
        line = capsys.readouterr().err.strip()
        assert part in line
        assert "\n" not in line
