"""The generated instruction task `tiny/instruct`: short instructions with exactly computable answers.

This file owns how problems are worded as instructions, the house style of the answers, and the task's rows. Generated
text, for trials: scores reached on it say nothing about following instructions at large.

The house style is what an adapter has to learn: an opening that depends on whether something was asked or told to be
done, then one full sentence. The model was pretrained on the same abilities with bare answers.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache

from uora_bench.data.generated.problems import ABILITIES, Problem, draw
from uora_bench.data.generated.world import with_article

SIZES = {"train": 2_000, "validation": 300, "test": 300}
ASKED, TOLD = "Thank you for asking.", "Of course."
# The wordings of each kind. {given} is what the problem gives, {asked} the word asked about; a wording without {given}
# leaves what is given to the row's input.
WORDINGS: dict[str, tuple[str, ...]] = {
    "repeat": ("Repeat this sentence.", "Say the sentence below once more.", "What does the sentence say?"),
    "first": ("Which word comes first?", "Give the first word of the list.", "What is the first word below?"),
    "last": ("Which word comes last?", "Give the last word of the list.", "What is the last word below?"),
    "longest": ("Which word is the longest?", "Find the longest word.", "Name the word with the most letters."),
    "count": ("How many words are there?", "Count the words.", "What is the number of words in the list?"),
    "sort": ("Sort these words alphabetically.", "Put the words in alphabetical order.", "Sort the list from A to Z."),
    "contains": ("Is the word {asked} in the list?", "Say whether the list has the word {asked}."),
    "sum": ("Add {given}.", "What is the sum of {given}?", "Compute the total of the numbers {given}."),
    "larger": ("Which number is larger, {given}?", "Name the larger one of {given}.", "Of {given}, which one is more?"),
    "next": ("What comes after {given}?", "Name what follows {given}.", "Which one is next after {given}?"),
    "plural": ("What is the plural of {given}?", "Put {given} in the plural.", "Give the plural form of {given}."),
    "opposite": ("What is the opposite of {given}?", "Give the opposite of {given}.", "Name the contrary of {given}."),
    "kind": ("What kind of thing is {article}?", "Name the group that {article} is in.", "Classify the word {given}."),
    "who": ("Who has the {asked}?", "Name the owner of the {asked}."),
    "what": ("What does {asked} have?", "Say what {asked} has."),
    "where": ("Where is {asked}?", "Say where {asked} is."),
}  # fmt: skip
STYLE = {
    "repeat": "Here it is again: {answer}",
    "first": "The first word is {answer}.",
    "last": "The last word is {answer}.",
    "longest": "The longest word is {answer}.",
    "count": "There are {answer} words.",
    "sort": "In alphabetical order they are {answer}.",
    "yes": "Yes, {asked} is in the list.",
    "no": "No, {asked} is not in the list.",
    "sum": "The sum of {given} is {answer}.",
    "larger": "The larger number is {answer}.",
    "next": "Right after {given} comes {answer}.",
    "plural": "The plural of {given} is {answer}.",
    "opposite": "The opposite of {given} is {answer}.",
    "kind": "We call {article} a kind of {answer}.",
    "who": "It is {answer} who has the {asked}.",
    "what": "We know that {asked} has the {answer}.",
    "where": "We know that {asked} is in the {answer}.",
}


def answer(problem: Problem, instruction: str) -> str:
    """The answer in house style; ``instruction`` decides the opening: a question is thanked for."""
    style = STYLE[problem.answer if problem.kind == "contains" else problem.kind]
    return f"{ASKED if instruction.endswith('?') else TOLD} {_filled(style, problem)}"


def _filled(form: str, problem: Problem) -> str:
    return form.format(
        given=problem.given, asked=problem.asked, answer=problem.answer, article=with_article(problem.given)
    )


@cache
def _splits() -> dict[str, tuple[tuple[str, str, str], ...]]:
    taken: set[tuple[str, str]] = set()
    splits = {}
    for split, size in SIZES.items():
        rng = random.Random(int.from_bytes(hashlib.sha256(f"tiny/instruct {split}".encode()).digest()[:8], "big"))
        found: list[tuple[str, str, str]] = []
        while len(found) < size:
            problem = draw(rng.choice(ABILITIES), rng)
            if problem.split != split:
                continue
            form = rng.choice(WORDINGS[problem.kind])
            instruction = _filled(form, problem)
            given = "" if "{given}" in form or "{article}" in form else problem.given
            if (instruction, given) not in taken:
                taken.add((instruction, given))
                found.append((instruction, given, answer(problem, instruction)))
        splits[split] = tuple(found)
    return splits


def rows(split: str) -> list[dict]:
    """Returns the rows of one split: instruction, input (may be empty), output, idx.

    The contents are fixed; no instruction with its input occurs twice, and no problem, however worded, in two splits.
    Raises ValueError for a split other than train, validation and test.
    """
    if split not in SIZES:
        raise ValueError(f"tiny/instruct has no split {split!r}; it has {', '.join(SIZES)}")
    return [
        {"instruction": instruction, "input": given, "output": output, "idx": idx}
        for idx, (instruction, given, output) in enumerate(_splits()[split])
    ]
