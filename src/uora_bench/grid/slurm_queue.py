"""What Slurm knows of an experiment's jobs, and the list of those that were submitted.

``<runs_dir>/<experiment>/slurm/jobs.jsonl`` has a line per job. squeue says what still waits or runs, sacct how the
rest ended; every question has a time limit, so that a cluster that does not answer is one line of error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.util.schema import build, plain

FOLDER, JOBS = "slurm", "jobs.jsonl"
_SECONDS = 30  # for one question
_ASK_AT_ONCE = 500  # jobs in one command line


@dataclass(frozen=True)
class Submitted:
    """One line of jobs.jsonl. ``job``: Slurm's id, ``<array>_<index>`` in an array."""

    key: str
    job: str
    snapshot: str
    submitted: str


@dataclass(frozen=True)
class Ended:
    """How sacct says a job ended; ``exit_code`` is ``<code>:<signal>``."""

    state: str
    exit_code: str
    elapsed: str
    node: str


def folder(runs_dir: Path, experiment: str) -> Path:
    """Where the jobs of an experiment are noted."""
    return runs_dir / experiment / FOLDER


def add(place: Path, jobs: Iterable[Submitted]) -> None:
    """Append ``jobs`` in one write that has reached the disk when this returns."""
    place.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(plain(job)) + "\n" for job in jobs)
    handle = os.open(place / JOBS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, text.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def submitted(place: Path) -> dict[str, Submitted]:
    """The last job of every key; empty when none was submitted.

    Raises:
        UserError: for a file with a line that is none of ours.
    """
    path = place / JOBS
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            job = build(Submitted, json.loads(line))
        except (ValueError, UserError):
            raise UserError(f"'{path}' has a line that is no job: {line[:60]!r}; remove that line") from None
        found[job.key] = job
    return found


def queued(runs_dir: Path, experiment: str) -> dict[str, str]:
    """``{key: state}`` of the items that Slurm holds (waiting, running, or being ended), in words for people.

    Slurm is asked only when jobs were submitted.

    Raises:
        UserError: when Slurm does not answer.
    """
    jobs = submitted(folder(runs_dir, experiment))
    if not jobs:
        return {}
    live = _live()
    found = {}
    for key, job in jobs.items():
        # a job of the same number and of other files belongs to somebody else (ids begin anew on a new cluster)
        state, reason, where = live.get(job.job, ("", "", ""))
        if state and where == job.snapshot:
            why = f", {reason}" if state == "PENDING" and reason not in ("None", "") else ""
            found[key] = f"Slurm job {job.job} {state.lower()}{why}"
    return found


def _live() -> dict[str, tuple[str, str, str]]:
    """``{job id: (state, reason, working directory)}`` of this user's jobs."""
    lines = ask("squeue", "--noheader", "--array", "--me", "--format=%A|%F|%K|%T|%r|%Z").splitlines()
    found = {}
    for line in lines:
        job, array, index, state, reason, where = line.split("|", 5)
        found[f"{array}_{index}" if index.isdigit() else job] = (state, reason, where)
    return found


def state_of(job: str) -> str:
    """The state squeue gives for one job (of an array: its own number, not ``<array>_<index>``)."""
    return ask("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip()


def ended(jobs: Iterable[str]) -> dict[str, Ended]:
    """What sacct knows of ``jobs``; those it does not know (yet) are left out."""
    jobs = sorted(jobs)
    found: dict[str, Ended] = {}
    for start in range(0, len(jobs), _ASK_AT_ONCE):
        some = jobs[start : start + _ASK_AT_ONCE]
        arrays = ",".join(sorted({job.split("_")[0] for job in some}))
        fields = "--format=JobID,State,ExitCode,Elapsed,NodeList"
        text = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={arrays}", fields)
        for line in text.splitlines():
            name, state, code, elapsed, node = line.split("|")
            for job in _expand(name):
                # "CANCELLED by 1000"
                found[job] = Ended(state.split(" ")[0].rstrip("+"), code, elapsed, node)
    return {job: found[job] for job in jobs if job in found}


def _expand(name: str) -> list[str]:
    """The ids in ``12_3`` or ``12_[0-2,5%4]``."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", name)
    if match is None:
        return [name]
    found = []
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        found += [f"{match[1]}_{i}" for i in range(int(first), int(last or first) + 1)]
    return found


def ask(program: str, *words: str) -> str:
    """The output of one of Slurm's programs.

    Raises:
        UserError: when it is not there, does not answer within half a minute, or fails.
    """
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise UserError(
            f"'{program}' is not on the PATH: run this where Slurm's commands are, or take launcher=local"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"Slurm does not answer: {program} took more than {_SECONDS} s; try again later") from None
    if done.returncode != 0:
        why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UserError(f"Slurm does not answer: {why[:300]} ({program})")
    return done.stdout
