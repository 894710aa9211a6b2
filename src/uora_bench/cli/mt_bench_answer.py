"""``uora-bench mt-bench answer <run folder | cell_id> data.root=…``: a finished cell answers MT-Bench's questions.

Whatever the end, the answers of finished batches are kept.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import CellError
from uora_bench.util.log import LOG
from uora_bench.util.words import count

if TYPE_CHECKING:
    from uora_bench.mt_bench import config, kept
    from uora_bench.mt_bench.subject import Subject


def _act(given: Given) -> int:
    from uora_bench.mt_bench import config
    from uora_bench.util.signals import StopRequest

    StopRequest().install()
    _run(config.parse(given.names[0], dict(given.values)))
    return 0


def _run(request: config.AnswerRequest) -> None:
    from uora_bench.mt_bench import kept, questions
    from uora_bench.mt_bench.judge.answers import FILE_NAME, temperature_of
    from uora_bench.mt_bench.subject import Subject
    from uora_bench.util.hold import hold

    settings = request.config
    there = questions.read_questions(request.places["data.root"])
    chosen = there[: settings.limit]
    subject = Subject.of_request(request)
    asked = kept.Asked(
        {question.question_id: question for question in chosen},
        {q.question_id: temperature_of(q.category, settings.temperature) for q in chosen},
        subject.facts(settings),
    )
    output = Path(request.places["output"] or subject.source.folder / FILE_NAME)
    every = count(len(there), "question")
    asked_for = every if len(chosen) == len(there) else f"{len(chosen)} of {every}"
    published = "" if len(there) == questions.PUBLISHED else f" (MT-Bench has {questions.PUBLISHED})"
    turns = "first turn only" if settings.turns == "1" else "both turns"
    header = f"{subject.source.cell.label} [{subject.source.cell_id}]: {asked_for}{published}, {turns}"
    if request.dry_run:
        print(f"{header}\nwould write {output}{', which already exists' if output.exists() else ''}")
        return
    with hold(output, "writing", "; name a file with output=<file>"):
        answers = kept.Kept(output, asked)
        done = answers.open(settings.force)
        print(header, flush=True)
        if done:
            print(f"already done: {output} (force=true makes them again)")
            return
        if answers.answers:
            print(f"{len(answers.answers)} answers are already there, of an interrupted call", flush=True)
        _answer(subject, settings, answers)
        answers.finish()
        print(f"written: {output}\ngraded by: uora-bench mt-bench judge {output} judge.model=… judge.base_url=…")


def _answer(subject: Subject, settings: config.AnswerConfig, answers: kept.Kept) -> None:
    """Have the questions answered that are still open, batch by batch."""
    import torch

    from uora_bench.mt_bench.generate import Writer
    from uora_bench.util.progress import Progress

    loaded, warning = subject.load_model()
    if warning:
        LOG.warning(warning)
    writer = Writer(loaded, subject.task, answers.asked, subject.seed, settings.max_new_tokens)
    answers.check_maker(writer.facts, settings.force)
    beside = "adapter beside the weights" if loaded.adds else "no adapter"
    adapter = "adapter merged into the weights" if writer.merged else beside
    LOG.info(f"on {writer.device.type} in {writer.facts['dtype']}, {adapter}")
    if writer.longest < settings.max_new_tokens:
        LOG.warning(
            f"the backbone has {writer.positions} positions: answers get at most {writer.longest} tokens, not "
            f"{settings.max_new_tokens}, so that half is left to the prompts"
        )
    if not writer.together and settings.batch_size > 1:
        LOG.info(f"method={loaded.cell.method.name} has virtual tokens: one question at a time")
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
        LOG.warning(
            f"{count(len(cut), 'prompt')} too long for the backbone: the earliest tokens are cut ({sum(cut)} in all)"
        )


COMMAND = Command(
    "mt-bench answer",
    "a finished instruction-tuned cell answers MT-Bench's questions",
    _act,
    "answers are kept; run the same command again to resume",
    words="<run folder | cell_id>",
    least=1,
    most=1,
    keys=(
        replace(keys.DATA_ROOT, help="has mt_bench/question/test.jsonl.gz or .jsonl (or UORA_DATA_DIR)"),
        Key("output", "where to (default: mt_bench_answers.jsonl in the run folder)", shown="<file>"),
        Key("turns", "1: the first turn only", "both", ("both", "1")),
        Key("limit", "the first n questions, for a trial", shown="n"),
        keys.DRY_RUN,
        Key("max_new_tokens", "longest answer", "1024"),
        Key("batch_size", "questions at a time", "8"),
        Key("seed", "of the sampling (default: the cell's)"),
        Key("temperature.*", "of a category, over the published one; 0 is greedy"),
        Key(
            "template",
            "the prompt's form (default: the one the cell was trained with)",
            shown="plain|alpaca|human_assistant|chat",
        ),
        Key("weights", "of the last epoch, or of the one that dev chose", "last", ("last", "best")),
        replace(keys.FORCE, help="generate answers again that already exist"),
        keys.OF_CELL,
        replace(keys.RUNS, help="where a cell_id is looked up"),
        keys.RUN_RESULTS,
        keys.BACKBONE,
    ),
    about=(
        "Answers are kept batch by batch; run the same command again to resume. uora-bench mt-bench judge grades "
        "them. docs/mt_bench.md",
    ),
    examples=("mt-bench answer 0123456789abcdef data.root=<folder>",),
    codes={1: "the model could not answer"},
    prints=False,
)
