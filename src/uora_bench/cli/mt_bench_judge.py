"""``uora-bench mt-bench judge <run folder | answers.jsonl> judge.base_url=… judge.model=…``: MT-Bench answers, graded.

Whatever the end, the judgements that arrived are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import CellError, UserError
from uora_bench.util.log import LOG
from uora_bench.util.words import count

if TYPE_CHECKING:
    from uora_bench.mt_bench.judge import config, plan, store
    from uora_bench.util.signals import StopRequest

WORDS = "<run folder | answers.jsonl>"
# what a judgement is found again by
WHICH = (
    Key("judge.model", "the judge, as its server names it", shown="gpt-4"),
    Key("judge.turns", "1: the first turn only", "both", ("both", "1")),
    Key("judge.references", "none: no reference answers, unlike the published scores", "gpt4", ("gpt4", "none")),
    Key("judge.temperature", "null: not sent, for models that refuse it", "0"),
)


def _act(given: Given) -> int:
    from uora_bench.mt_bench.judge import config
    from uora_bench.util.signals import StopRequest

    stop = StopRequest()
    stop.install()
    _run(config.parse(given.names[0], dict(given.values)), stop)
    return 0


def jobs_of(request: config.JudgeRequest) -> list[plan.JudgeCall]:
    """What there is to judge, whether it was judged or not."""
    from uora_bench.mt_bench.judge import answers, plan

    said = answers.read_answers(request.answers)
    return plan.plan(said, plan.references_for(said, request.config, request.data_root), request.config)


def _run(request: config.JudgeRequest, stop: StopRequest) -> None:
    from uora_bench.mt_bench.judge import scores, store

    settings, jobs = request.config, jobs_of(request)
    judgements, results = store.paths(request.answers)
    if request.dry_run:
        _announce(jobs, store.read_judgements(judgements), request)
        return
    with store.held_store(judgements) as kept:
        if kept.mended:
            LOG.warning(f"{judgements}: removed an incomplete last line (left by a crash)")
        left = _announce(jobs, kept.judgements, request)
        try:
            if left:
                _ask(left, settings, kept, stop)
        finally:
            content = scores.scores(jobs, kept.judgements, settings, request.answers)
            if content["rated"] or content["malformed"]:
                scores.write_scores(results, content)
                print(f"{scores.table(content)}\nwritten: {results}", flush=True)


def _announce(
    jobs: list[plan.JudgeCall], stored: Mapping[str, store.Judgement], request: config.JudgeRequest
) -> list[plan.JudgeCall]:
    """Say what there is to do and what it may cost, and return it."""
    from uora_bench.mt_bench.judge import plan

    settings = request.config
    left = plan.to_do(jobs, stored, settings, request.limit)
    there = sum(job.key in stored for job in jobs)
    turns = "first turn only" if settings.turns == "1" else "both turns"
    limit = f" (limit={request.limit})" if len(left) == request.limit else ""
    questions = count(len({j.question_id for j in jobs}), "question")
    print(f"{questions}, {turns}, judge {settings.model} at {settings.host or '–'}")
    print(f"{count(len(jobs), 'judgement')}: {there} stored, {len(left)} to ask for now{limit}")
    if left:
        print(plan.estimate(left, settings))
    sys.stdout.flush()
    return left


def _ask(left: list[plan.JudgeCall], settings: config.JudgeConfig, kept: store.Store, stop: StopRequest) -> None:
    """Ask for the judgements ``left`` and keep them.

    Raises:
        CellError: when some of them could not be had.
        UserError: when the server refuses all of them.
        Interrupted: after a signal.
    """
    from uora_bench.mt_bench.judge.config import key_warning, read_key
    from uora_bench.mt_bench.judge.pool import judge_all
    from uora_bench.util.progress import Progress

    if settings.base_url is None:
        raise UserError("'judge.base_url' is missing; give the judge's server, e.g. https://api.openai.com/v1")
    key = read_key(settings.key_env)
    if key and (warning := key_warning(settings)):
        LOG.warning(warning)
    bar = Progress(len(left), 0, "MT-Bench judgements")
    new: list[store.Judgement] = []

    def keep(judgement: store.Judgement) -> None:
        kept.append(judgement)
        new.append(judgement)
        bar.step()

    stop.guard()
    try:
        outcome = judge_all(left, settings, key, keep, stop)
    finally:
        bar.close()
        _spent(new, settings)
    stop.release()
    if outcome.fatal is not None:
        raise outcome.fatal
    if outcome.failures:
        raise CellError(
            f"{len(left) - outcome.judged} of {count(len(left), 'judgement')} could not be had; give the same command "
            f"again. The last trouble: {outcome.failures[-1]}"
        )


def _spent(new: list[store.Judgement], settings: config.JudgeConfig) -> None:
    """Say what the judgements of this call cost by the server's count, where it counts."""
    from uora_bench.mt_bench.judge import plan

    if any(j.prompt_tokens is None or j.completion_tokens is None for j in new) or not new:
        return
    tokens = sum(j.prompt_tokens or 0 for j in new), sum(j.completion_tokens or 0 for j in new)
    price = f", price {plan.cost(*tokens, settings):.2f}" if settings.price_in is not None else ""
    print(f"spent: {tokens[0]:,} tokens in, {tokens[1]:,} out by the server's count{price}")


COMMAND = Command(
    "mt-bench judge",
    "MT-Bench answers, graded 1-10 by a model behind a server",
    _act,
    "judgements are kept; run the same command again to resume",
    words=WORDS,
    least=1,
    most=1,
    keys=(
        *WHICH,
        Key("judge.base_url", "an OpenAI-compatible server; /chat/completions is added", shown="https://host/v1"),
        Key("judge.key_env", "the environment variable that holds the key (none: for local servers)", "OPENAI_API_KEY"),
        keys.DATA_ROOT,
        keys.DRY_RUN,
        Key("limit", "ask for at most so many judgements this time", shown="n"),
        Key("judge.price_in", "price of a million tokens sent, for the estimate"),
        Key("judge.price_out", "price of a million tokens received"),
        Key("judge.parallel", "requests at a time", "4"),
        Key("judge.attempts", "calls for one rating", "3"),
        Key("judge.retry_malformed", "ask again for those that never gave a rating", flag=True),
        Key("judge.retries", "repetitions after a refused or broken request", "6"),
        Key("judge.backoff", "seconds before the first repetition", "1"),
        Key("judge.connect_timeout", "seconds", "10"),
        Key("judge.timeout", "seconds for a whole answer", "120"),
        Key("judge.max_tokens", "longest judgement", "2048"),
        Key("judge.token_field", "what the server calls it", "max_tokens", ("max_tokens", "max_completion_tokens")),
    ),
    about=(
        "Judgements are kept as they arrive; run the same command again to resume, nothing is paid twice. "
        "docs/mt_bench.md",
    ),
    examples=(
        "mt-bench judge <folder> judge.model=gpt-4 judge.base_url=https://…",
        "mt-bench judge <run folder> judge.model=gpt-4 dry_run=true",
    ),
    codes={1: "some judgements are missing"},
    prints=False,
)
