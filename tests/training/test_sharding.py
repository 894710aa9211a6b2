"""``trainer.sharding=full``: the frozen weights cut over two processes (gloo, CPU), the numbers those of whole ones."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.distributed.tensor import DTensor

from tests.support.gloo import Group
from uora_bench.config import registry
from uora_bench.config.cell import HELD_OUT, Cell
from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.contract import harness, worker
from uora_bench.contract.models import gpt2, make_method
from uora_bench.data import batching
from uora_bench.errors import Interrupted, UserError
from uora_bench.execution.dry_run import describe
from uora_bench.execution.trackers import Tracker
from uora_bench.methods import create_method
from uora_bench.models import backbones
from uora_bench.models.targets import find_targets
from uora_bench.tasks import create_task
from uora_bench.tasks.base import Encoded
from uora_bench.training import evaluation, sharding, trainer
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.training.distributed import StopConsensus
from uora_bench.training.inject import inject as put_on_model
from uora_bench.util.signals import StopRequest

# the fast tests take one that rewrites shared frozen matrices, one with a second optimizer, one with parts of the
# backbone trained; the slow ones all others
FAST = ("uora", "alpha_lora", "bitfit")
METHODS = registry.choices("method")
SHARDABLE = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in METHODS if n != "full"]
LLAMAS = ("llama_7b", "llama_13b", "llama2_7b", "llama2_13b")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def two():
    group = Group(2, "spawn")  # backward passes: no fork
    yield group
    group.close()


def accelerator_of() -> Accelerator:
    return Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])


def train(name: str, sharded: bool, folder: str, stop_at: int | None = None, **settings: Any) -> dict[str, Any]:
    """The contract's short run of the real trainer, sharded or not, and what came of it in this process."""
    accelerator, stop = accelerator_of(), StopRequest()
    held = harness.set_up(name, **{**worker.SETTINGS, **settings})
    own, whole = list(held.own.values()), [weakref.ref(p) for p in held.own.values()]
    frozen = sum(p.numel() for p in own if not p.requires_grad)
    held.own.clear()
    facts: dict[str, Any] = {}
    if sharded:
        sharding.shard(held.model, own, held.method, accelerator)
        gc.collect()
        shards = [p for p in held.model.parameters() if isinstance(p, DTensor)]
        facts = {
            "whole": frozen,
            "cut": sum(p.numel() for p in shards),
            "local": sum(p.to_local().numel() for p in shards),
            "trained_whole": not any(isinstance(p, DTensor) for p in (*held.method.parameters(), *held.head.values())),
            "alive": sum(r() is not None and not r().requires_grad for r in whole),
        }
    after_step = held.method.after_step

    def and_stop(step: int) -> Any:
        if step == stop_at and accelerator.process_index == 1:
            stop.signum = signal.SIGTERM
        return after_step(step)

    held.method.after_step = and_stop  # type: ignore[method-assign]
    splits = {
        "train": harness.encoded(harness.ROWS, 0),
        "dev": harness.encoded(21, 1),
        HELD_OUT: harness.encoded(13, 2),
    }

    class Rows(Tracker):
        def log(self, values: Any, step: int) -> None:
            held.rows.append({"step": step, **values})

    task = create_task(held.cell.task)
    model, head, method, place = held.model, held.head, held.method, Checkpoints(Path(folder), "0" * 16)
    try:
        held.history = trainer.fit(held.cell, model, head, method, task, splits, Rows(), place, accelerator, stop)
    except Interrupted:
        return facts | {"stopped": True}
    return facts | worker.facts(held) | {"digest": worker.digest(held)}


def both_ways(name: str, stop_at: int | None = None, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(unsharded, sharded); ``stop_at``: the sharded run is stopped there, by one process, and begun again."""
    from accelerate.utils import broadcast_object_list

    folder = [tempfile.mkdtemp()]
    broadcast_object_list(folder)
    plain = train(name, False, f"{folder[0]}/plain", **settings)
    if stop_at is not None:
        assert train(name, True, f"{folder[0]}/sharded", stop_at, **settings)["stopped"]
    return plain, train(name, True, f"{folder[0]}/sharded", **settings)


@pytest.mark.parametrize("name", SHARDABLE)
def test_a_method_trains_as_on_whole_weights(name, two):
    for plain, sharded in two(both_ways, name):
        assert sharded["losses"] == pytest.approx(plain["losses"], rel=1e-5)
        assert sharded["epochs"] == plain["epochs"]
        assert sharded["report"] == plain["report"]
        assert sharded["digest"] == plain["digest"]  # to the bit: nothing is added up in another order
        assert sharded["cut"] == sharded["whole"] > 0
        assert 0.49 < sharded["local"] / sharded["whole"] < 0.55  # some matrices have an odd number of rows
        assert sharded["trained_whole"]
        assert sharded["alive"] == 0, "the whole weights are still in memory"


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_checkpointing": True, "max_grad_norm": 0.1, "micro_batch_size": 2},
        {"stop_at": 2},
        pytest.param({"stop_at": 4}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_what_the_trainer_does_works_on_shards(settings, two):
    name = "uora" if "stop_at" in settings else "lora"
    for plain, sharded in two(_with, name, settings):
        assert sharded["losses"][-1:] == pytest.approx(plain["losses"][-1:], rel=1e-5)
        assert sharded["digest"] == plain["digest"]


def _with(name: str, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return both_ways(name, **settings)


# --- generating -------------------------------------------------------------------------------------------------------


class Writes:
    """Continues prompts; how long depends on the row, so that the processes end at different lengths."""

    def set_epoch(self, encoded: Encoded, batches: Any, draw: int | None) -> Encoded:
        return encoded

    def collate(self, encoded: Encoded, indices: Any, padding: str) -> dict[str, torch.Tensor]:
        width = int(encoded.lengths.max())
        ids = [[5] * (width - len(encoded.features["input_ids"][int(i)])) for i in indices]
        whole = [a + encoded.features["input_ids"][int(i)].tolist() for a, i in zip(ids, indices, strict=True)]
        return {"input_ids": torch.tensor(whole)}

    def predict(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        length = 3 + int(batch["input_ids"][0, -1]) % 9
        ids = batch["input_ids"]
        mask = torch.ones_like(ids)
        made = model.generate(
            input_ids=ids, attention_mask=mask, num_beams=2, max_new_tokens=length, do_sample=False, pad_token_id=0
        )
        return made[:, ids.shape[1] :]


def write(rows: int, batch_size: int) -> tuple[list[Any], list[Any]]:
    """What a whole and a sharded GPT-2 (tied embeddings, an adapter that is not zero) write for the same prompts."""
    made = []
    for sharded in (False, True):
        accelerator, model, method = accelerator_of(), gpt2(torch.float32), make_method("lora", rank=4)
        own = list(model.parameters())
        config = cell_of("task=tiny/restaurants", "backbone=tiny_gpt2", "recipe=none").backbone
        targets = find_targets(model, config, ("qkv",))
        method.inject(model, targets, torch.Generator().manual_seed(0))
        harness.perturb(method)
        if sharded:
            sharding.shard(model, own, method, accelerator)
        prepared = sharding.prepare(model, accelerator)
        generator = np.random.default_rng(0)
        ids = [generator.integers(3, 99, n).tolist() for n in generator.integers(3, 9, rows)]
        lengths = np.array([len(i) for i in ids], dtype=np.int64)
        encoded = Encoded({"input_ids": ids}, np.arange(rows), lengths, {}, 12)
        task: Any = Writes()
        consensus = StopConsensus(StopRequest(), accelerator)
        texts = evaluation.predict(prepared, task, encoded, accelerator, batch_size, "dynamic", consensus)
        made.append(texts.tolist())
    return made[0], made[1]


@pytest.mark.parametrize(
    ("rows", "batch_size"), [(5, 2), *(pytest.param(*p, marks=pytest.mark.slow) for p in [(1, 2), (7, 3)])]
)
def test_texts_are_those_of_whole_weights_though_the_processes_have_unequal_work(rows, batch_size, two):
    counts = {len(batching.evaluation_batches(np.ones(rows), batch_size, r, 2)) for r in (0, 1)}
    if rows < 7:
        assert len(counts) == 2  # one process has a batch more than the other
    for whole, sharded in two(write, rows, batch_size):
        assert len(whole) == rows
        assert sharded == whole


# --- the command line -------------------------------------------------------------------------------------------------


def cell_of(*words: str) -> Cell:
    return compose(list(words)).cell


def sharded(name: str, backbone: str) -> list[str]:
    return [f"method={name}", "task=instruct/alpaca", f"backbone={backbone}", "recipe=none", "trainer.sharding=full"]


@pytest.mark.parametrize("backbone", LLAMAS)
def test_a_method_that_trains_nothing_on_a_large_backbone_is_refused(backbone):
    words = sharded("head_only", backbone)  # with no head to train, there is nothing
    with pytest.raises(UserError, match="trains nothing"):
        describe(compose(words))


@pytest.mark.parametrize("backbone", LLAMAS)
def test_a_method_that_trains_the_backbone_is_refused(backbone):
    cell = cell_of(*sharded("full", backbone))
    with pytest.raises(UserError, match="trains the backbone itself"):
        preflight(cell)


@pytest.mark.parametrize("backbone", LLAMAS)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("head_only", "full")])
def test_every_other_method_composes_with_it_on_the_large_backbones(name, backbone):
    cell = cell_of(*sharded(name, backbone))
    assert cell.trainer.sharding == "full"
    plain = replace(cell, trainer=replace(cell.trainer, sharding="none"))
    assert cell.cell_id("x") == plain.cell_id("x")  # how the weights lie in memory is no other experiment
    preflight(cell)
    sharding.check_processes(cell, 2)
    with pytest.raises(UserError, match="there is one"):
        sharding.check_processes(cell, 1)
    packed = replace(cell, backbone=replace(cell.backbone, quantisation="nf4"))
    with pytest.raises(UserError, match="cannot cut weights packed"):
        preflight(packed)


@pytest.mark.parametrize("backbone", LLAMAS)
def test_a_dry_run_shows_it_and_finds_the_blocks(backbone):
    words = ["method=uora", "task=instruct/alpaca", f"backbone={backbone}", "recipe=none", "trainer.sharding=full"]
    composed = compose([*words, "dry_run=true"])
    cell = Cell.from_config(composed.values)
    text = describe(composed)
    assert "trainer.sharding" in text
    model = backbones.skeleton(cell.backbone, create_task(cell.task).head)
    put_on_model(cell, model, create_method(cell.method, 0))
    assert len(sharding.blocks(model)) == (32 if "7b" in backbone else 40)
    assert {type(b).__name__ for b in sharding.blocks(model)} == {"LlamaDecoderLayer"}


def launch(folder: Path, launcher: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        *launcher, "-m", "uora_bench", "task=tiny/instruct", "method=uora", "method.rank=8", "recipe=none",
        "task.splits.train=train[:40]", "task.splits.dev=validation[:11]", "task.splits.test=null", "trainer.epochs=2",
        "trainer.batch_size=15", "trainer.eval_batch_size=2", "trainer.precision=float32", "tracker=none",
        "trainer.lr_adapter=0.3", "backbone.dtype=bfloat16", f"results.dir={folder}", f"runs.dir={folder / 'runs'}",
        *words,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


@pytest.mark.slow
def test_a_llama_in_half_precision_trains_under_torchrun_and_says_that_nothing_was_merged(tmp_path):
    done = launch(tmp_path, TORCHRUN, "trainer.sharding=full", "trainer.gradient_checkpointing=true")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "records" / "scratch").glob("*.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["processes"], record["merge_error"]) == ("done", 2, None)
    assert record["provenance"]["merge_check"] == "not run: sharded"
    assert record["provenance"]["trainer"]["sharding"] == "full"
    assert record["epochs"][1]["train_loss"] < record["epochs"][0]["train_loss"]


@pytest.mark.slow
def test_one_process_is_refused_in_one_line(tmp_path):
    done = launch(tmp_path, [sys.executable], "trainer.sharding=full")
    assert done.returncode == 2
    assert "there is one; start it with torchrun" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "records").rglob("*.json"))


@pytest.mark.slow
def test_the_command_line_gives_the_record_and_the_bytes_of_whole_weights(tmp_path):
    found = []
    for kind in ("none", "full"):
        folder = tmp_path / kind
        done = launch(folder, TORCHRUN, f"trainer.sharding={kind}")
        assert done.returncode == 0, done.stderr
        (path,) = (folder / "records" / "scratch").glob("*.json")
        record = json.loads(path.read_text())
        weights = (folder / "runs" / "scratch" / record["cell_id"] / "adapter.safetensors").read_bytes()
        epochs = [{k: v for k, v in e.items() if k != "seconds"} for e in record["epochs"]]
        found.append((record["cell_id"], epochs, record["counts"], record["bytes"], weights))
    assert found[0] == found[1]
