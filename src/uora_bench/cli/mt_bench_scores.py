"""``uora-bench mt-bench scores <run folder | answers.jsonl> judge.model=…``: scores of the judgements that are kept."""

from __future__ import annotations

from uora_bench.cli import keys, mt_bench_judge
from uora_bench.cli.parser import Command, Given
from uora_bench.errors import UserError


def _act(given: Given) -> int:
    from uora_bench.mt_bench.judge import config, scores, store

    request = config.parse(given.names[0], dict(given.values))
    jobs = mt_bench_judge.jobs_of(request)
    judgements, results = store.paths(request.answers)
    content = scores.scores(jobs, store.read_judgements(judgements), request.config, request.answers)
    if not content["rated"] and not content["malformed"]:
        raise UserError(
            f"no judgement of {request.config.model} in '{judgements}'; uora-bench mt-bench judge asks for them"
        )
    scores.write_scores(results, content)
    print(f"{scores.table(content)}\nwritten: {results}", flush=True)
    return 0 if content["complete"] else 1


COMMAND = Command(
    "mt-bench scores",
    "scores of the judgements that are kept; no server is asked",
    _act,
    words=mt_bench_judge.WORDS,
    least=1,
    most=1,
    keys=(*mt_bench_judge.WHICH, keys.DATA_ROOT),
    about=("Give the keys that the judgements were made with.",),
    examples=("mt-bench scores <run folder> judge.model=gpt-4 data.root=<folder>",),
    codes={1: "some judgements are missing"},
)
