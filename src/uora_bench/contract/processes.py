"""The contract, part 5: two processes with the same global batch do what one does, and a killed run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uora_bench.config import plugins
from uora_bench.contract import worker
from uora_bench.contract.check import Checks, ensure, ensure_near
from uora_bench.contract.harness import having, train

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# of the real command line; a rank these 96 wide layers can take, whatever the default
WORDS = (
    "task=tiny/nli", "recipe=none", "task.splits.train=train[:76]", "task.splits.dev=validation[:51]",
    "task.splits.test=null", "trainer.epochs=2", "trainer.batch_size=15", "trainer.precision=float32",
    "trainer.lr_adapter=2e-3", "tracker=none",
)  # fmt: skip
PATIENCE = 300.0  # seconds
check = Checks()


def surroundings() -> dict[str, str]:
    """The environment of a process that runs this very package with the plug-ins in use, whatever its folder."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    folders = os.pathsep.join(str(p.folder) for p in plugins.active() if not p.origin.startswith("installed"))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, plugins.VARIABLE: folders}


def call(command: Sequence[str], folder: Path) -> str:
    """Run ``command`` on one core per process; returns the end of its stderr if it failed, else ""."""
    done = subprocess.run(command, cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=PATIENCE)
    return done.stderr[-3000:] if done.returncode else ""


def command(name: str, *words: str) -> list[str]:
    """The words after ``python`` that run a small cell of the method."""
    rank = [f"method.{k}={v}" for k, v in having(name, rank=8).items()]
    given = {word.partition("=")[0] for word in words}
    usual = [word for word in WORDS if word.partition("=")[0] not in given]
    return ["-m", "uora_bench", f"method={name}", *rank, *usual, *words]


def one_record(folder: Path) -> dict[str, Any]:
    """The one record below ``folder``."""
    (path,) = folder.glob("results/records/scratch/*.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def by_two(names: Sequence[str], folder: Path) -> tuple[dict[str, Any], str]:
    """What two processes did with each method (`worker.facts` and more), and what went wrong ("": nothing)."""
    result = folder / "result.json"
    error = call([*TORCHRUN, "-m", "uora_bench.contract.worker", str(result), *names], folder)
    return (json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}), error


@check(slow=True)
def two_processes_train_like_one(name: str, folder: Path) -> None:
    ensure_like_one(name, *by_two([name], folder), folder)


def ensure_like_one(name: str, answers: dict[str, Any], error: str, folder: Path) -> None:
    """Raise AssertionError unless what `by_two` answered for the method is what one process does."""
    ensure(name in answers, f"two processes failed: {error}")
    two = answers[name]
    one = json.loads(json.dumps(worker.facts(train(name, folder / "one", **worker.SETTINGS))))
    ensure(two["processes"] == 2, "the launcher ran one process")  # they are known to do so in silence
    ensure(len(set(two["digests"])) == 1, "the processes end with different weights")
    ensure_near(two["losses"], one["losses"], 1e-5, "losses of two processes")
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        where = f"two processes, epoch {a['epoch']}"
        ensure((b["epoch"], b["step"]) == (a["epoch"], a["step"]), f"{where}: {b['step']} steps, not {a['step']}")
        found, expected = ([e["scores"]["dev"]["accuracy"]] for e in (b, a))
        ensure_near(found, expected, 0.0, f"{where}, accuracy", 1 / 21 + 1e-9)
        ensure_alike(b["method"], a["method"], where)
    ensure_alike(two["report"], one["report"], "two processes, report")
    # where a method acts beside the optimizer, it did so here
    ensure(two["report"].get("refreshes", 1) > 0, "no refresh took place")
    ensure(two["epochs"][-1]["method"].get("auxiliary_steps", 3) >= 3, "fewer than three auxiliary steps were taken")


def ensure_alike(found: Any, expected: Any, what: str) -> None:
    """Raise AssertionError unless nested plain values are equal, floats to a part in a thousand or 1e-5."""
    if isinstance(expected, dict):
        ensure(found.keys() == expected.keys(), f"{what}: {sorted(found.keys() ^ expected.keys())} is only in one")
        for key in expected:
            ensure_alike(found[key], expected[key], f"{what}, {key}")
    elif isinstance(expected, list):
        ensure(len(found) == len(expected), f"{what}: {len(found)} values, not {len(expected)}")
        for a, b in zip(found, expected, strict=True):
            ensure_alike(a, b, what)
    elif isinstance(expected, float):
        ensure_near([found], [expected], 1e-3, what, 1e-5)
    else:
        ensure(found == expected, f"{what}: {found}, not {expected}")


@check(slow=True)
def the_command_line_does_the_same_under_torchrun(name: str, folder: Path) -> None:
    records = []
    for i, launcher in enumerate(([sys.executable], TORCHRUN)):
        (folder / str(i)).mkdir()
        error = call([*launcher, *command(name)], folder / str(i))
        ensure(not error, f"the command line failed: {error}")
        records.append(one_record(folder / str(i)))
    one, two = records
    ensure((one["processes"], two["processes"]) == (1, 2), f"{two['processes']} processes ran")
    ensure(two["cell_id"] == one["cell_id"], "two processes make another cell_id")
    ensure(two["counts"] == one["counts"], f"two processes count {two['counts']}, one {one['counts']}")
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        ensure_near([b["train_loss"]], [a["train_loss"]], 1e-5, "train_loss under torchrun")
        found, expected = ([e["scores"]["dev"]["accuracy"]] for e in (b, a))
        ensure_near(found, expected, 0.0, "accuracy under torchrun", 1 / 51 + 1e-9)
    ensure_alike(two["method"], one["method"], "report under torchrun")


@check(slow=True)
def a_killed_run_goes_on_and_ends_with_the_same_bytes(name: str, folder: Path) -> None:
    words = [sys.executable, *command(name, "trainer.epochs=12", "trainer.checkpoint_every=1")]
    for part in ("whole", "killed"):
        (folder / part).mkdir()
    kill_after_first_checkpoint(words, folder / "killed")
    for part in ("whole", "killed"):
        error = call(words, folder / part)
        ensure(not error, f"the command line failed: {error}")
    whole, killed = (one_record(folder / part) for part in ("whole", "killed"))
    ensure(killed["restarts"] == 1, f"{killed['restarts']} restarts were counted, not 1")
    ensure(killed["scores"] == whole["scores"], "a killed run ends with other scores")
    paths = [next((folder / part).glob("runs/scratch/*/adapter.safetensors")) for part in ("whole", "killed")]
    ensure(paths[0].read_bytes() == paths[1].read_bytes(), "a killed run ends with another adapter.safetensors")


def kill_after_first_checkpoint(words: Sequence[str], folder: Path) -> None:
    """Start ``words`` and kill it (SIGKILL) as soon as it has kept a checkpoint.

    Raises:
        AssertionError: when it ends before that, or takes longer than `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    with open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(words, cwd=folder, env=surroundings(), stdout=output, stderr=output)
    try:
        while not any(folder.glob("runs/scratch/*/checkpoints/last.pt")):
            said = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")[-1000:]
            ensure(process.poll() is None, f"the command line ended before it kept a checkpoint: {said}")
            ensure(time.monotonic() < end, f"no checkpoint within {PATIENCE:.0f} seconds")
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
