"""What the judge is asked, and how its rating is read.

The prompts say what those of MT-Bench's single-answer grading say (Zheng et al. 2023, arXiv 2306.05685, appendix A:
general and reference-guided, one and two turns), in our words and with their verdict format ``[[rating]]``. They are
one user message, because not every chat template knows a system message.
"""

from __future__ import annotations

import re

# Part of every judgement's key: whoever changes a word below changes this, and everything is judged anew.
PROMPT_VERSION = "uora-bench-1"
LOWEST, HIGHEST = 1.0, 10.0

_ROLE = "You are an impartial judge. Below is {what}. Assess the quality of {aim}."
_GENERAL = "Take into account how helpful, relevant, accurate, deep, creative and detailed it is."
_REFERENCE = (
    "What counts is whether it is correct and helpful. {given} First compare the assistant's answer with the "
    "reference, and point out and correct the mistakes you find."
)
_FOCUS = "Judge the assistant's answer to the user's second question; the first exchange is there as its context."
_VERDICT = (
    "{start} a short explanation and stay as objective as you can. After the explanation you must rate the answer "
    "with a number from 1 to 10, in exactly this format: \"[[rating]]\". An example: \"Rating: [[5]]\"."
)  # fmt: skip
_DOUBLE = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]")
_SINGLE = re.compile(r"\[(\d+(?:\.\d+)?)\]")
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


def message(turns: tuple[str, ...], answers: tuple[str, ...], references: tuple[str, ...] = ()) -> str:
    """The judge's task for the last of ``turns``: one question and answer, or two; ``references`` guide it if given."""
    both = len(turns) == 2
    if both:
        role = _ROLE.format(what="a conversation of a user with an AI assistant", aim="the assistant's second answer")
    else:
        role = _ROLE.format(what="a user's question and an AI assistant's answer", aim="the answer")
    given = f"You are given {'reference answers to both questions' if both else 'a reference answer'}."
    parts = [role, _REFERENCE.format(given=given) if references else _GENERAL]
    if both:
        parts.append(_FOCUS)
    parts.append(_VERDICT.format(start="Then give" if references else "Begin with"))
    blocks = [" ".join(parts)]
    if both and references:
        blocks.append(_block("reference conversation", _dialogue(turns, references, "Reference answer")))
    if both:
        blocks.append(_block("conversation to judge", _dialogue(turns, answers, "Assistant")))
    else:
        blocks.append(_block("question", turns[0]))
        if references:
            blocks.append(_block("reference answer", references[0]))
        blocks.append(_block("assistant's answer", answers[0]))
    return "\n\n".join(blocks)


def verdict(text: str) -> tuple[float, str] | None:
    """(rating, form) of a judgement, where form is ``[[x]]`` or, failing that, ``[x]``; None when it is malformed.

    As published the first match counts, and the single bracket is the fallback; unlike published, a number outside 1–10
    is no rating. What a reasoning model thinks aloud before it answers is not its verdict.
    """
    text = _THOUGHT.sub("", text)
    for pattern, form in ((_DOUBLE, "[[x]]"), (_SINGLE, "[x]")):
        match = pattern.search(text)
        if match:
            rating = float(match[1])
            return (rating, form) if LOWEST <= rating <= HIGHEST else None
    return None


def _dialogue(turns: tuple[str, ...], answers: tuple[str, ...], who: str) -> str:
    return "\n\n".join(f"# User:\n{turn}\n\n# {who}:\n{answer}" for turn, answer in zip(turns, answers, strict=True))


def _block(name: str, text: str) -> str:
    return f"--- {name}: begin ---\n{text}\n--- {name}: end ---"
