"""Grids on a real one-node Slurm: to the end, killed in the middle, requeued, cancelled and taken up again.

`make test-slurm` and CI must have the cluster, which scripts/dev_slurm.sh installs and starts; elsewhere these tests
are skipped, with the reason, where its packages are not installed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import last_of_each
from tests.support.paths import ROOT
from uora_bench.grid import model, slurm_queue
from uora_bench.grid.expand import expand
from uora_bench.grid.launch import slurm

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

SCRIPT = ROOT / "scripts" / "dev_slurm.sh"
REQUIRED = bool(os.environ.get("CI") or os.environ.get("UORA_TEST_SLURM"))
LAUNCHER = [
    "launcher=slurm", "launcher.gpus=0", "launcher.cpus=1", "launcher.mem_gb=1", "launcher.minutes=5",
    "launcher.signal_seconds=30", "launcher.grace_seconds=10",
]  # fmt: skip
SMALL = [
    "task=tiny/nli", "task.splits.train=train[:64]", "task.splits.dev=validation[:64]", "task.splits.test=null",
    "trainer.precision=float32", "trainer.max_steps=4", "tracker=none",
]  # fmt: skip
# refreshes and dropout, so that counters, rewritten matrices and random streams have to survive; long enough for a
# signal to meet it in the middle
LONG = [
    "method=uora", "method.rank=16", "method.tau=0.05", "method.dropout=0.1", "task=tiny/nli", "recipe=none",
    "task.splits.train=train[:192]", "task.splits.dev=validation[:64]", "task.splits.test=null", "tracker=none",
    "trainer.batch_size=16", "trainer.epochs=8", "trainer.lr_adapter=2e-2", "trainer.checkpoint_every=5",
    "trainer.eval_batch_size=32", "trainer.precision=float32",
]  # fmt: skip


def free_ports() -> int:
    """The first of four free ports in a row."""
    for first in range(26817, 27817, 10):
        try:
            for port in range(first, first + 4):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands find a cluster of our own."""
    if not REQUIRED and shutil.which("slurmctld", path="/usr/sbin:" + os.environ.get("PATH", "")) is None:
        pytest.skip("no Slurm here; make test-slurm installs one")
    # not below pytest's folder: the data base's user may not enter that
    folder = tempfile.mkdtemp(prefix="uora-slurm-")
    environment = {**os.environ, "UORA_SLURM_PORT": str(free_ports()), "OMP_NUM_THREADS": "1"}
    try:
        started = subprocess.run(
            [str(SCRIPT), "start", folder], env=environment, capture_output=True, text=True, timeout=280
        )
        if started.returncode != 0:
            (pytest.fail if REQUIRED else pytest.skip)(f"dev_slurm.sh: {started.stderr.strip()[-300:]}")
        source, configuration = str(ROOT / "src"), f"{folder}/slurm.conf"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", configuration)
            yield {**environment, "SLURM_CONF": configuration, "PYTHONPATH": source}
    finally:
        subprocess.run([str(SCRIPT), "stop", folder], env=environment, timeout=100, check=True)
        shutil.rmtree(folder, ignore_errors=True)


class Grid:
    """One experiment in a folder of its own."""

    def __init__(self, environment: dict[str, str], folder: Path, words: list[str]) -> None:
        self.environment, self.folder = environment, folder
        where = [f"results.dir={folder / 'results'}", f"runs.dir={folder / 'runs'}", "experiment_name=x"]
        self.words = [*words, *where]
        self.runs = folder / "runs" / "x"

    def plan(self, *words: str, code: int = 0) -> str:
        """The output of ``uora-bench plan`` with our words and ``words``; the last one of a key counts."""
        done = subprocess.run(
            [sys.executable, "-m", "uora_bench", "plan", *last_of_each(*self.words, *words)],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def submit(self, *words: str) -> list[str]:
        """Submit what is open; returns the new jobs' ids."""
        before = self.lines()
        self.plan(*LAUNCHER, *words)
        return [line["job"] for line in self.lines()[len(before) :]]

    def lines(self) -> list[dict[str, str]]:
        path = self.runs / "slurm" / "jobs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def slurm(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, job: str) -> str:
        """What squeue says of ``job``; "" when it is over."""
        done = subprocess.run(
            ["squeue", "-h", "-j", job, "-o", "%T"], env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def until(self, what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {seconds:g} s: {what}\n{self.logs()}"
            time.sleep(0.2)
        return found

    def finish(self, *jobs: str) -> None:
        self.until("the jobs' end", lambda: not any(self.state(job) for job in jobs))

    def logs(self) -> str:
        files = [*self.runs.glob("slurm/log/*.err"), *self.runs.glob("slurm/log/*.out"), *self.runs.glob("logs/*.log")]
        return "\n".join(f"== {p.name}\n{p.read_text()[-2000:]}" for p in files)

    def records(self) -> dict[str, dict[str, Any]]:
        found = (self.folder / "results" / "records" / "x").glob("*.json")
        return {p.stem: json.loads(p.read_text()) for p in found}

    def results(self) -> dict[str, Any]:
        """What must not depend on how and where the cells ran."""
        found = {}
        for cell_id, record in self.records().items():
            assert record["status"] == "done", record["reason"]
            run = self.runs / cell_id
            files = {
                name: hashlib.sha256((run / name).read_bytes()).hexdigest()
                for name in ("adapter.safetensors", "head.safetensors")
                if (run / name).is_file()
            }
            epochs = [{k: e[k] for k in ("epoch", "step", "train_loss", "scores")} for e in record["epochs"]]
            found[cell_id] = {"scores": record["scores"], "epochs": epochs, "files": files, "method": record["method"]}
        return found


@pytest.fixture
def make(cluster: dict[str, str], tmp_path: Path) -> Callable[[list[str]], Grid]:
    return lambda words: Grid(cluster, tmp_path, words)


def test_a_grid_runs_to_its_end_and_gives_what_a_local_one_gives(
    make: Callable[[list[str]], Grid], cluster: dict[str, str], tmp_path: Path
) -> None:
    grid = make(["method=lora,vera", *SMALL])
    jobs = grid.submit()
    assert len(jobs) == 2
    # they are known to be with Slurm (or, a moment later, to run), so nobody submits them again
    assert "nothing to submit" in grid.plan(*LAUNCHER)
    text = grid.plan("status=true")
    assert "queued" in text or "running" in text or "done" in text
    grid.finish(*jobs)
    assert "2 done" in grid.plan("collect=true")
    states = {job: end.state for job, end in ended(jobs).items()}
    assert states == dict.fromkeys(jobs, "COMPLETED")
    assert {r["provenance"]["launch"]["launcher"] for r in grid.records().values()} == {"slurm"}

    (tmp_path / "here").mkdir()
    local = Grid(cluster, tmp_path / "here", ["method=lora,vera", *SMALL])
    local.plan("launcher=local", "launcher.gpus=none", "launcher.cpu_slots=2")
    assert grid.results() == local.results()

    grid.words[0] = "method=lora,vera,head_only"
    more = grid.submit("launcher.gpus=1", "launcher.partition=gpu", "launcher.constraint=pretend")
    assert len(more) == 1  # what is finished is not submitted
    shown = grid.slurm("scontrol", "show", "job", more[0])
    assert "Partition=gpu" in shown
    assert "Features=pretend" in shown
    assert "gres:gpu:1" in shown
    grid.finish(*more)
    assert "3 done" in grid.plan("collect=true")


def ended(jobs: list[str]) -> dict[str, slurm_queue.Ended]:
    """What sacct says of ``jobs``, once it says that they are over (it lags behind)."""
    for _ in range(100):
        found = slurm_queue.ended(jobs)
        if len(found) == len(jobs) and not {e.state for e in found.values()} & {"PENDING", "RUNNING", "COMPLETING"}:
            return found
        time.sleep(0.2)
    raise AssertionError(f"sacct does not know of the end of {jobs}: {found}")


def test_a_cell_that_starts_from_another_waits_for_it(make: Callable[[list[str]], Grid]) -> None:
    grid = make(["method=lora", *SMALL])
    planned = expand([*grid.words, "seed=0,1"]).items
    first, second = (model.Item(p.key, f"seed {p.row['seed']}", p.overrides) for p in planned)
    second = dataclasses.replace(second, after=first.key)
    where = str(grid.folder / "results"), str(grid.folder / "runs")
    plan = model.Plan(model.SCHEMA, "x", "", *where, (second, first))
    options = slurm.read_options(
        {w.split("=")[0].removeprefix("launcher."): int(w.split("=")[1]) for w in LAUNCHER[1:]}
    )
    submitted = slurm.submit(plan, options)
    assert [item.key for item, _ in submitted] == [first.key, second.key]
    jobs = [job for _, job in submitted]
    assert f"afterany:{jobs[0]}" in grid.slurm("squeue", "-h", "-j", jobs[1], "-o", "%E")
    grid.finish(*jobs)
    records = {r["cell"]["seed"]: r for r in grid.records().values()}
    assert records[1]["provenance"]["init_from"] == records[0]["cell_id"]


def test_code_that_changes_after_submission_does_not_reach_the_jobs(
    make: Callable[[list[str]], Grid], tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    for part in ("src", "configs"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    grid = make(["method=head_only", *SMALL])
    grid.environment = {**grid.environment, "PYTHONPATH": str(checkout / "src")}
    (job,) = grid.submit("launcher.extra.hold=true")
    assert grid.state(job) == "PENDING"
    assert "1 queued: Slurm job" in grid.plan("status=true")
    for part in ("src/uora_bench/__main__.py", "src/uora_bench/grid/launch/slurm_job.py", "configs/config.yaml"):
        (checkout / part).write_text("this is broken ][\n")
    grid.slurm("scontrol", "release", job)
    grid.finish(job)
    (record,) = grid.records().values()
    assert record["status"] == "done", record["reason"]


@pytest.fixture(scope="module")
def undisturbed(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What LONG gives when nothing happens."""
    grid = Grid(cluster, tmp_path_factory.mktemp("undisturbed"), LONG)
    grid.plan("launcher=local", "launcher.gpus=none", "launcher.cpu_slots=1")
    results = grid.results()
    assert next(iter(results.values()))["method"]["refreshes"] > 0
    return results


def cell_process(grid: Grid) -> int:
    """The process that ran (or runs) the grid's only cell."""
    leases = list((grid.runs / ".grid").glob("*.lease.json"))
    return json.loads(leases[0].read_text())["pid"] if leases else 0


def in_the_middle(grid: Grid, before: int = 0) -> int:
    """Wait for a checkpoint of a process other than ``before``; returns that process."""
    pid = grid.until("a start of the cell", lambda: cell_process(grid) not in (0, before) and cell_process(grid))
    (path,) = (grid.runs / ".grid").glob("*.lease.json")
    leased = path.stat().st_mtime_ns
    states = grid.runs.glob
    grid.until("a checkpoint", lambda: any(p.stat().st_mtime_ns > leased for p in states("*/checkpoints/last.pt")))
    return pid


def kill_the_cell(grid: Grid, job: str) -> None:
    os.kill(cell_process(grid), signal.SIGKILL)


def lose_the_node(grid: Grid, job: str) -> None:
    node = grid.slurm("sinfo", "-h", "-o", "%n").split()[0]
    grid.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    grid.until("the requeue", lambda: grid.state(job) == "PENDING")
    # refused where the node has come back of its own accord
    resume = ["scontrol", "update", f"nodename={node}", "state=resume"]
    subprocess.run(resume, env=grid.environment, capture_output=True, timeout=60)
    grid.until("the node", lambda: "down" not in grid.slurm("sinfo", "-h", "-o", "%T"))


def send(name: str) -> Callable[[Grid, str], Any]:
    return lambda grid, job: grid.slurm("scancel", f"--signal={name}", job)


# all that can happen to one job, in two parts
DISTURBANCES: dict[str, list[Callable[[Grid, str], Any]]] = {
    "its cell is killed, it is requeued by hand, its node is lost": [
        kill_the_cell,
        lambda grid, job: grid.slurm("scontrol", "requeue", job),
        lose_the_node,
    ],
    "the time limit is near (USR2), it is preempted (USR1, TERM)": [send("USR2"), send("USR1"), send("TERM")],
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbed_job_goes_on_and_ends_with_the_same_bytes(
    make: Callable[[list[str]], Grid], undisturbed: dict[str, Any], name: str
) -> None:
    grid = make(LONG)
    (job,) = grid.submit()
    process = 0
    for disturb in DISTURBANCES[name]:
        process = in_the_middle(grid, process)
        disturb(grid, job)
    grid.finish(job)
    (record,) = grid.records().values()
    assert record["restarts"] == len(DISTURBANCES[name]), grid.logs()
    assert grid.results() == undisturbed
    assert len(grid.lines()) == 1  # it was this very job that went on


def test_a_cancelled_array_is_taken_up_again(make: Callable[[list[str]], Grid], undisturbed: dict[str, Any]) -> None:
    grid = make([*LONG, "seed=0,1,2"])
    jobs = grid.submit("launcher.parallel=1")
    assert len({job.split("_")[0] for job in jobs}) == 1
    in_the_middle(grid)
    grid.slurm("scancel", jobs[0].split("_")[0])
    grid.finish(*jobs)
    assert not grid.records()
    states = {end.state for end in ended(jobs).values()}
    assert states == {"CANCELLED"}  # no job has requeued itself
    text = grid.plan("collect=true", code=1)
    assert "resumes from its checkpoint" in text
    assert "CANCELLED" in text

    grid.words[len(LONG)] = "seed=0"  # one of the three; the other two stay to be done
    again = grid.submit()
    assert len(again) == 1
    grid.finish(*again)
    (record,) = grid.records().values()
    assert record["restarts"] == 1
    assert grid.results() == undisturbed
    grid.words[len(LONG)] = "seed=0,1,2"
    assert "3 cells: 1 done · 2 to do" in grid.plan()


def test_a_cell_out_of_requeues_and_a_job_that_was_killed_are_failures_with_a_reason(
    make: Callable[[list[str]], Grid],
) -> None:
    grid = make(LONG)
    (job,) = grid.submit("launcher.requeues=0")
    process = in_the_middle(grid)
    grid.slurm("scancel", "--signal=USR2", job)
    grid.finish(job)
    assert ended([job])[job].state == "FAILED"
    assert "not finished after the last requeue" in grid.plan("collect=true", code=1)
    (record,) = grid.records().values()
    assert (record["status"], record["provenance"]["failure"]["kind"]) == ("failed", "time_limit")

    (job,) = grid.submit()
    cell = in_the_middle(grid, process)
    # the job's own process is killed, so that nothing of ours can say why
    parent = int(Path(f"/proc/{cell}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    grid.finish(job)
    assert ended([job])[job].state == "FAILED"
    assert f"job {job} FAILED" in grid.plan("collect=true", code=1)
    (record,) = grid.records().values()
    assert record["status"] == "failed"
