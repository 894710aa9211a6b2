"""``uora-bench mt-bench judge <run folder | answers.jsonl> judge.base_url=… judge.model=…``: MT-Bench answers, graded.

Exit codes: 0 done (or nothing left to do), 1 some judgements could not be had, 2 the user's mistake (a refused key
among them), 128 + n stopped by signal n. Whatever the end, the judgements that arrived are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from uora_bench.cli import exits
from uora_bench.errors import CellError, UserError
from uora_bench.mt_bench.judge import answers, config, plan, scores, store
from uora_bench.mt_bench.judge.client import Client
from uora_bench.mt_bench.judge.pool import judge_all
from uora_bench.mt_bench.judge.secret import Secret
from uora_bench.util.signals import StopRequest

_HELP = """uora_bench mt-bench judge: MT-Bench answers graded 1-10 by a model behind any OpenAI-compatible server

usage: python -m uora_bench mt-bench judge <run folder | answers.jsonl> judge.base_url=… judge.model=… [key=value …]

  judge.base_url=https://api.openai.com/v1   the server; /chat/completions is added
  judge.model=gpt-4                          the judge, as its server names it
  judge.key_env=OPENAI_API_KEY               the environment variable that holds the key (none: for local servers)
  data.root=<folder> (or UORA_DATA_DIR)      has mt_bench/reference_answer_gpt4/test.jsonl.gz
  judge.turns=both|1                         1: the first turn only
  judge.references=gpt4|none                 none: no reference answers, unlike the published scores
  judge.dry_run=true                         count and estimate, ask nothing
  judge.limit=n                              ask for at most n judgements this time
  judge.price_in=… judge.price_out=…         prices of a million tokens, for the estimate
  judge.parallel=4                           requests at a time
  judge.attempts=3  judge.retry_malformed=false   calls for one rating; ask again for those that never gave one
  judge.retries=6  judge.backoff=1  judge.connect_timeout=10  judge.timeout=120   patience with the server, seconds
  judge.max_tokens=2048  judge.token_field=max_tokens  judge.temperature=0|null   what is sent with each question

Judgements are kept as they arrive; the same command goes on where it stopped and pays nothing twice. docs/mt_bench.md
exit codes: 0 done, 1 some judgements are missing, 2 your mistake, 128+n signal n"""


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "what was judged is kept, and the same command goes on from it")


def _main(words: list[str]) -> int:
    if not words or any(w in ("-h", "--help", "help") for w in words):
        print(_HELP, flush=True)
        return 0 if words else 2
    stop = StopRequest()
    stop.install()
    _run(words, stop)
    return 0


def _run(words: list[str], stop: StopRequest) -> None:
    request = config.parse(words)
    settings = request.config
    said = answers.read(request.answers)
    jobs = plan.plan(said, plan.references_for(said, settings, request.data_root), settings)
    judgements, results = store.paths(request.answers)
    if settings.dry_run:
        _announce(jobs, store.read(judgements), settings)
        return
    with store.Store(judgements) as kept:
        if kept.mended:
            print(f"{judgements} ended in the middle of a line (a crash); that is mended", file=sys.stderr)
        left = _announce(jobs, kept.judgements, settings)
        try:
            if left:
                _ask(left, settings, kept, stop)
        finally:
            content = scores.scores(jobs, kept.judgements, settings, request.answers)
            if content["rated"] or content["malformed"]:
                scores.write(results, content)
                print(f"{scores.table(content)}\nwritten: {results}", flush=True)


def _announce(
    jobs: list[plan.Job], stored: Mapping[str, store.Judgement], settings: config.JudgeConfig
) -> list[plan.Job]:
    """Say what there is to do and what it may cost, and return it."""
    left = plan.to_do(jobs, stored, settings)
    there = sum(job.key in stored for job in jobs)
    turns = "first turn only" if settings.turns == "1" else "both turns"
    limit = f" (judge.limit={settings.limit})" if len(left) == settings.limit else ""
    print(f"{len({j.question_id for j in jobs})} questions, {turns}, judge {settings.model} at {settings.host or '–'}")
    print(f"{len(jobs)} judgements: {there} stored, {len(left)} to ask for now{limit}")
    if left:
        print(plan.estimate(left, settings))
    sys.stdout.flush()
    return left


def _ask(left: list[plan.Job], settings: config.JudgeConfig, kept: store.Store, stop: StopRequest) -> None:
    """Ask for the judgements ``left`` and keep them.

    Raises:
        CellError: when some of them could not be had.
        UserError: when the server refuses all of them.
        Interrupted: after a signal.
    """
    from uora_bench.util.progress import Progress

    if settings.base_url is None:
        raise UserError("'judge.base_url' is missing; give the judge's server, e.g. https://api.openai.com/v1")
    secret = Secret(settings.key_env)
    if warning := Client.warning(settings, secret):
        print(warning, file=sys.stderr)
    bar = Progress(len(left), 0, "MT-Bench judgements")
    new: list[store.Judgement] = []

    def keep(judgement: store.Judgement) -> None:
        kept.append(judgement)
        new.append(judgement)
        bar.step()

    stop.guard()
    try:
        outcome = judge_all(left, settings, secret, keep, stop)
    finally:
        bar.close()
        _spent(new, settings)
    stop.release()
    if outcome.fatal is not None:
        raise outcome.fatal
    if outcome.failures:
        raise CellError(
            f"{len(left) - outcome.judged} of {len(left)} judgements could not be had; give the same command again. "
            f"The last trouble: {outcome.failures[-1]}"
        )


def _spent(new: list[store.Judgement], settings: config.JudgeConfig) -> None:
    """Say what the judgements of this call cost by the server's count, where it counts."""
    if any(j.prompt_tokens is None or j.completion_tokens is None for j in new) or not new:
        return
    tokens = sum(j.prompt_tokens or 0 for j in new), sum(j.completion_tokens or 0 for j in new)
    price = f", price {plan.cost(*tokens, settings):.2f}" if settings.price_in is not None else ""
    print(f"spent: {tokens[0]:,} tokens in, {tokens[1]:,} out by the server's count{price}")
