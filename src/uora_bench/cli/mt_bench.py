"""``uora-bench mt-bench answer <run folder | cell_id> data.root=…``: a finished cell answers MT-Bench's questions.

Exit codes: 0 done (or already done), 1 the model could not answer, 2 the user's mistake, 128 + n stopped by signal n.
Whatever the end, the answers of finished batches are kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

from uora_bench.cli import exits
from uora_bench.errors import CellError
from uora_bench.mt_bench import config, kept, questions
from uora_bench.mt_bench.judge.answers import FILE_NAME, temperature_of
from uora_bench.mt_bench.subject import Subject
from uora_bench.util.signals import StopRequest

_HELP = """uora_bench mt-bench answer: a finished instruction-tuning cell answers the questions of MT-Bench

usage: python -m uora_bench mt-bench answer <run folder | cell_id> data.root=<folder> [key=value …]

  data.root=<folder> (or UORA_DATA_DIR)  has mt_bench/question/test.jsonl.gz (or .jsonl)
  output=<file>              default: mt_bench_answers.jsonl in the run folder
  turns=both|1               1: the first turn only
  limit=n                    the first n questions, for a trial
  max_new_tokens=1024        longest answer
  batch_size=8               questions at a time
  seed=…                     of the sampling (default: the cell's)
  temperature.<category>=…   over the published temperatures; 0 is greedy
  template=plain|alpaca|human_assistant|chat   the prompt's form (default: the one the cell was trained with)
  weights=last|best          of the last epoch, or of the one dev chose
  force=true                 make answers again that are there already
  runs.dir=runs  experiment_name=…   where a cell_id is looked up; which experiment's, when several have it
  results.dir=…              where the cell's record is (default: what the run had)
  backbone.path=<folder>     the folder of the backbone's weights, where the run's own is gone

Answers are kept batch by batch; the same command goes on where it stopped.
uora-bench mt-bench judge grades them.
docs/mt_bench.md
exit codes: 0 done, 1 the model could not answer, 2 your mistake, 128+n signal n"""


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "what was answered is kept, and the same command goes on from it")


def _main(words: list[str]) -> int:
    if not words or any(w in ("-h", "--help", "help") for w in words):
        print(_HELP, flush=True)
        return 0 if words else 2
    StopRequest().install()
    _run(config.parse(words))
    return 0


def _run(request: config.Request) -> None:
    settings = request.config
    there = questions.read(request.places["data.root"])
    chosen = there[: settings.limit]
    subject = Subject.of(request)
    asked = kept.Asked(
        {question.question_id: question for question in chosen},
        {q.question_id: temperature_of(q.category, settings.temperature) for q in chosen},
        subject.facts(settings),
    )
    output = Path(request.places["output"] or subject.source.folder / FILE_NAME)
    with kept.held(output):
        answers = kept.Kept(output, asked)
        done = answers.open(settings.force)
        parts = [
            f"{len(chosen)} questions" if len(chosen) == len(there) else f"{len(chosen)} of {len(there)} questions"
        ]
        parts += [] if len(there) == questions.PUBLISHED else [f"(MT-Bench has {questions.PUBLISHED})"]
        turns = "first turn only" if settings.turns == "1" else "both turns"
        print(f"{subject.source.cell.label} [{subject.source.cell_id}]: {' '.join(parts)}, {turns}", flush=True)
        if done:
            print(f"already done: {output} (force=true makes them again)")
            return
        if answers.answers:
            print(f"{len(answers.answers)} are there already, of a call that did not end", flush=True)
        _answer(subject, settings, answers)
        answers.finish()
        print(
            f"written: {output}\ngraded by: python -m uora_bench mt-bench judge {output} judge.model=… judge.base_url=…"
        )


def _answer(subject: Subject, settings: config.AnswerConfig, answers: kept.Kept) -> None:
    """Have the questions answered that are still open, batch by batch."""
    import torch

    from uora_bench.mt_bench.generate import Writer
    from uora_bench.util.progress import Progress

    loaded, warning = subject.load()
    if warning:
        print(warning, file=sys.stderr)
    writer = Writer(loaded, subject.task, answers.asked, subject.seed, settings.max_new_tokens)
    answers.check_maker(writer.facts, settings.force)
    beside = "adapter beside the weights" if loaded.adds else "no adapter"
    adapter = "adapter merged into the weights" if writer.merged else beside
    print(f"on {writer.device.type} in {writer.facts['dtype']}, {adapter}", file=sys.stderr)
    if writer.longest < settings.max_new_tokens:
        print(
            f"the backbone has {writer.positions} positions: answers get at most {writer.longest} tokens, not "
            f"{settings.max_new_tokens}, so that half is left to the prompts",
            file=sys.stderr,
        )
    if not writer.together and settings.batch_size > 1:
        print(f"method={loaded.cell.method.name} has virtual tokens: one question at a time", file=sys.stderr)
    chosen = list(answers.asked.questions.values())
    bar = Progress(len(chosen), len(answers.answers), "MT-Bench answers")
    try:
        # cut into batches before what is there is left out: a resumed call pads as an undisturbed one
        for indices in writer.batches(chosen, settings.batch_size):
            batch = [chosen[i] for i in indices if chosen[i].question_id not in answers.answers]
            if batch:
                answers.add(writer.answer(batch))
            for _ in batch:
                bar.step()
    except torch.OutOfMemoryError:
        raise CellError(
            f"the GPU's memory is full; give the same command again with batch_size={settings.batch_size // 2 or 1} "
            "or a smaller max_new_tokens"
        ) from None
    finally:
        bar.close()
    cut = [n for a in answers.answers.values() for n in a.generation["prompt_tokens_dropped"] if n]
    if cut:
        print(
            f"{len(cut)} prompts were too long for the backbone and lost their earliest tokens ({sum(cut)} in all)",
            file=sys.stderr,
        )
