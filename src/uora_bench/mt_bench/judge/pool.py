"""Several jobs at once: threads ask, the main thread keeps what comes back and decides when to stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from uora_bench.mt_bench.judge.client import Client, Dropped, Failed
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.plan import JudgeCall
from uora_bench.mt_bench.judge.prompts import PROMPT_VERSION, verdict
from uora_bench.mt_bench.judge.secret import Secret
from uora_bench.mt_bench.judge.store import Judgement
from uora_bench.util.signals import StopRequest

GRACE = 5.0  # seconds that requests in flight get when the run is to stop: they are paid for
FAILURES_IN_A_ROW = 3  # so many questions without an answer, and it is the server
# the first question is asked at judge.temperature; the same question at 0 would only bring the same malformed answer
RETRY_TEMPERATURE = 0.7


@dataclass
class Outcome:
    """How asking went: ``failures`` are questions left without an answer, ``fatal`` what ended the run for all."""

    judged: int = 0
    failures: list[str] = field(default_factory=list)
    fatal: BaseException | None = None


class _Failing:
    """How many questions in a row, over all threads, got no answer."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0

    def reset(self) -> None:
        with self._lock:
            self._count = 0

    def once_more(self) -> int:
        with self._lock:
            self._count += 1
            return self._count


def judge_all(
    jobs: list[JudgeCall], config: JudgeConfig, secret: Secret, keep: Callable[[Judgement], None], stopping: StopRequest
) -> Outcome:
    """Ask for every job, with ``config.parallel`` requests at a time, and ``keep`` each judgement as it arrives.

    ``keep`` is called in this thread only. A noted signal, a fatal error or `FAILURES_IN_A_ROW` end it early; what is
    in flight then gets `GRACE` seconds.
    """
    outcome = Outcome()
    stop = threading.Event()
    client = Client(config, secret, stop)
    waiting: queue.SimpleQueue[JudgeCall] = queue.SimpleQueue()
    results: queue.SimpleQueue[Judgement | BaseException] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    failing = _Failing()

    def work() -> None:
        while not stop.is_set():
            try:
                results.put(judge(waiting.get_nowait(), client, config, secret))
                failing.reset()
            except (queue.Empty, Dropped):
                return
            except Failed as error:
                results.put(error)
                if failing.once_more() >= FAILURES_IN_A_ROW:
                    stop.set()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the main thread tells it
                results.put(error)
                stop.set()  # here, not there: no further question may leave

    # daemons: one that hangs in a request keeps nobody from leaving
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(config.parallel, len(jobs)))]
    for thread in threads:
        thread.start()
    leave_at = float("inf")
    while time.monotonic() < leave_at:
        alive = any(thread.is_alive() for thread in threads)  # before looking: what a thread left is then there
        try:
            result = results.get(timeout=0.1) if alive else results.get_nowait()
            if isinstance(result, Judgement):
                keep(result)
                outcome.judged += 1
            elif isinstance(result, Failed):
                outcome.failures.append(str(result))
            else:
                outcome.fatal = outcome.fatal or result
        except queue.Empty:
            if not alive:
                break
        if stopping.signum is not None:
            stop.set()
        if stop.is_set():
            leave_at = min(leave_at, time.monotonic() + GRACE)
    return outcome


def judge(job: JudgeCall, client: Client, config: JudgeConfig, secret: Secret) -> Judgement:
    """Ask until the rating is well-formed, at most ``config.attempts`` times; errors are `Client.complete`'s."""
    prompt, rejected, temperature = job.prompt(), [], config.temperature
    spent: dict[str, int | None] = {"prompt_tokens": None, "completion_tokens": None}
    for attempt in range(1, config.attempts + 1):
        if attempt == 2 and temperature is not None:
            temperature = max(temperature, RETRY_TEMPERATURE)
        said = client.complete(prompt, temperature)
        for name in spent:
            if (count := getattr(said, name)) is not None:
                spent[name] = (spent[name] or 0) + count
        found = verdict(said.text)
        if found or attempt == config.attempts:
            break
        rejected.append(secret.hide(said.text))
    score, form = found or (None, None)
    return Judgement(
        key=job.key,
        question_id=job.question_id,
        category=job.category,
        turn=job.turn,
        score=score,
        form=form,
        text=secret.hide(said.text),
        rejected=tuple(rejected),
        attempts=attempt,
        temperature=temperature,
        finish_reason=said.finish_reason,
        judge_model=config.model,
        served_model=secret.hide(said.model),
        host=config.host,
        prompt_version=PROMPT_VERSION,
        with_reference=bool(job.references),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        **spent,
    )
