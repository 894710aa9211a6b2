"""PEFT's types on tiny models: the fields that make them small, what must train, a short training, refusals."""

from __future__ import annotations

import io

import pytest
import torch

from uora_bench.contract.models import inject, labelled, make_method, roberta, tokens
from uora_bench.errors import UserError

WIDTH, PROMPT = 32, 3
# fields without which a type does not fit a model 32 wide, or is too large for a test
FIELDS = {
    "adalora": {"init_r": 4, "target_r": 2}, "adamss": {"r": 8, "num_subspaces": 2}, "boft": {"boft_block_size": 4},
    "oft": {"oft_block_size": 8}, "vblora": {"vector_length": 8, "num_vectors": 16}, "c3a": {"block_size": 8},
    "trainable_tokens": {"token_indices": [3, 4, 5]}, "road": {"group_size": 8}, "unilora": {"theta_d_length": 16},
    "fourierft": {"n_frequency": 20}, "waveft": {"n_frequency": 20}, "shira": {"r": 2},
    "adaption_prompt": {"adapter_len": 3, "adapter_layers": 1}, "cartridge": {"num_virtual_tokens": PROMPT},
    "prompt_tuning": {"num_virtual_tokens": PROMPT}, "prefix_tuning": {"num_virtual_tokens": PROMPT},
    "p_tuning": {"num_virtual_tokens": PROMPT, "encoder_hidden_size": 8},
    **{kind: {"r": 4} for kind in ("lora", "vera", "pvera", "randlora", "miss", "psoft", "gralora", "hira", "peanut",
                                   "lily", "delora", "loha", "lokr", "deft", "glora", "tinylora", "hra")},
}  # fmt: skip
# a regression must not turn one of these into a refusal
MUST_TRAIN = {
    "lora", "adalora", "ia3", "loha", "lokr", "oft", "boft", "vera", "fourierft", "hra", "ln_tuning", "vblora",
    "randlora", "prompt_tuning", "p_tuning", "prefix_tuning", "cartridge", "adamss", "beft", "c3a", "deft", "delora",
    "frod", "glora", "gralora", "hira", "lily", "miss", "osf", "peanut", "psoft", "pvera", "road", "shira",
    "supertuning", "tinylora", "trainable_tokens", "unilora", "waveft",
}  # fmt: skip
CLOSED_FORM = {"lora", "adalora", "vera", "ia3", "loha", "fourierft", "hra", "vblora"}
assert MUST_TRAIN > CLOSED_FORM


def injected(kind, make=roberta, dtype=torch.float32, seed=0, kinds=None, **fields):
    """A model with PEFT type ``kind`` on it; returns model, method and targets."""
    model = make(dtype)
    method = make_method("peft", seed, type=kind, target_modules=kinds, fields={**FIELDS.get(kind, {}), **fields})
    targets = inject(method, model, seed=seed)
    return model, method, targets


def train(model, method, steps, first=1, optimizer=None):
    """``steps`` of the trainer's own sequence of calls; returns the losses with the regulariser."""
    optimizer = optimizer or torch.optim.AdamW(method.parameters(), lr=1e-2)
    losses = []
    model.train()
    for step in range(first, first + steps):
        method.before_forward(step, True)
        loss, extra = model(**labelled(model, batch=4, seed=step)).loss, method.regulariser()
        loss = loss if extra is None else loss + extra
        loss.backward()
        optimizer.step()
        method.after_step(step)
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def logits(model):
    return model(**tokens(model)).logits


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def mistake(kind="lora", kinds=None, **fields):
    """The one line that these words are refused with before there is a model."""
    with pytest.raises(UserError) as caught:
        make_method("peft", type=kind, target_modules=kinds, fields=fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def mistake_on_model(kind="lora", **words):
    """The one line that these words are refused with at the latest on a model."""
    with pytest.raises(UserError) as caught:
        injected(kind, **words)
    assert "\n" not in str(caught.value)
    return str(caught.value)
