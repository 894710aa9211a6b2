"""Several questions at once: asked side by side, kept as the answers come, and stopped when they should be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from uora_bench.errors import Interrupted
from uora_bench.mt_bench.judge.client import Client, Dropped, Failed
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.plan import JudgeCall, total
from uora_bench.mt_bench.judge.prompts import PROMPT_VERSION, verdict
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


def judge_all(
    jobs: list[JudgeCall], config: JudgeConfig, key: str, keep: Callable[[Judgement], None], stopping: StopRequest
) -> Outcome:
    """Ask for every job, with ``config.parallel`` requests at a time, and ``keep`` each judgement as it arrives.

    A noted signal, a fatal error or `FAILURES_IN_A_ROW` end it early; what is in flight then gets `GRACE` seconds.
    Errors are not raised but in the `Outcome`.
    """
    return asyncio.run(_judge_all(jobs, config, key, keep, stopping))


async def _judge_all(
    jobs: list[JudgeCall], config: JudgeConfig, key: str, keep: Callable[[Judgement], None], stopping: StopRequest
) -> Outcome:
    outcome, failed, waiting = Outcome(), 0, iter(jobs)

    async def work(client: Client) -> None:
        nonlocal failed
        for job in waiting:
            try:
                keep(await judge(job, client, config))
                outcome.judged += 1
                failed = 0
            except Dropped:
                return
            except Failed as error:
                outcome.failures.append(str(error))
                failed += 1
                if failed >= FAILURES_IN_A_ROW:
                    client.stop.set()
            except (Exception, Interrupted) as error:  # noqa: BLE001 - whatever it is, it ends the run for all
                outcome.fatal = outcome.fatal or error
                client.stop.set()

    async with Client(config, key) as client:
        asking = {asyncio.create_task(work(client)) for _ in range(min(config.parallel, len(jobs)))}
        leave_at = float("inf")
        while asking and time.monotonic() < leave_at:
            _, asking = await asyncio.wait(asking, timeout=0.1)
            if stopping.signum is not None:
                client.stop.set()
            if client.stop.is_set():
                leave_at = min(leave_at, time.monotonic() + GRACE)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return outcome


async def judge(job: JudgeCall, client: Client, config: JudgeConfig) -> Judgement:
    """Ask until the rating is well-formed, at most ``config.attempts`` times; errors are `Client.complete`'s."""
    said, temperature = [], config.temperature
    for attempt in range(1, config.attempts + 1):
        if attempt == 2 and temperature is not None:
            temperature = max(temperature, RETRY_TEMPERATURE)
        said.append(await client.complete(job.prompt(), temperature))
        if found := verdict(said[-1].text):
            break
    score, form = found or (None, None)
    return Judgement(
        key=job.key,
        question_id=job.question_id,
        category=job.category,
        turn=job.turn,
        score=score,
        form=form,
        text=said[-1].text,
        rejected=tuple(one.text for one in said[:-1]),
        attempts=len(said),
        temperature=temperature,
        finish_reason=said[-1].finish_reason,
        judge_model=config.model,
        served_model=said[-1].model,
        host=config.host,
        prompt_version=PROMPT_VERSION,
        with_reference=bool(job.references),
        prompt_tokens=total([one.prompt_tokens for one in said]),
        completion_tokens=total([one.completion_tokens for one in said]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
