"""Instruction tuning: the answer to an instruction, with or without an input (Alpaca and data of its form)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uora_bench.config.options.tasks import InstructOptions
from uora_bench.errors import UserError
from uora_bench.tasks.causal import CausalLM

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

# {instruction} and {input} are filled in; the second form is for rows without an input
TEMPLATES: dict[str, tuple[str, str]] = {
    "plain": ("{instruction}\n\n{input}\n\nAnswer:\n", "{instruction}\n\nAnswer:\n"),
    "alpaca": (
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
    "human_assistant": (
        "### Human: {instruction}\n{input}\n### Assistant: ",
        "### Human: {instruction}\n### Assistant: ",
    ),
}


class Instruct(CausalLM):
    """Loss on the answer alone; held-out rows are scored by the likelihood of their answers."""

    Config = InstructOptions
    config: InstructOptions

    def check(self, rows: Dataset) -> None:
        """Raise `UserError` unless the three columns hold text; only the second may be empty or null."""
        self.check_columns(rows, *self.config.columns)
        for name, optional in zip(self.config.columns, (False, True, False), strict=True):
            self.check_texts(rows, name, empty=optional, null=optional)

    def texts(self, rows: Dataset) -> tuple[list[str], list[str]]:
        """The filled template of every row, and its answer without blanks around it."""
        instruction, extra, output = (rows[c] for c in self.config.columns)
        prompts = [self.prompt(i, e or "") for i, e in zip(instruction, extra, strict=True)]
        return prompts, [o.strip() for o in output]

    def prompt(self, instruction: str, extra: str = "") -> str:
        """What the model is given; its answer follows. ``extra``: the input, or "". Raises as `chat`."""
        if self.config.template == "chat":
            return self.chat([{"role": "user", "content": f"{instruction}\n\n{extra}".strip()}])
        with_input, without = TEMPLATES[self.config.template]
        return (with_input if extra.strip() else without).format(instruction=instruction.strip(), input=extra.strip())

    def dialogue(self, questions: Sequence[str], answers: Sequence[str]) -> str:
        """What the model is given when the last of ``questions`` is to be answered.

        ``answers`` are its own to the earlier ones. The tokenizer's chat form, or the filled template, the answer, and
        the filled template again. Raises as `chat`.
        """
        if self.config.template == "chat":
            earlier = [
                turn
                for question, answer in zip(questions[:-1], answers, strict=True)
                for turn in ({"role": "user", "content": question.strip()}, {"role": "assistant", "content": answer})
            ]
            return self.chat([*earlier, {"role": "user", "content": questions[-1].strip()}])
        between = "\n" if self.config.template == "human_assistant" else "\n\n"  # as between the template's own parts
        said = [self.prompt(q) + a.strip() + between for q, a in zip(questions[:-1], answers, strict=True)]
        return "".join([*said, self.prompt(questions[-1])])

    @property
    def new_prompt(self) -> str | None:
        """What a prompt of this template begins with, where that is always the same; else None.

        A model that writes it has finished its answer and goes on to a question of its own. ``plain`` begins with the
        question itself, and in ``chat`` a turn's end is a token of its own.
        """
        if self.config.template == "chat":
            return None
        return TEMPLATES[self.config.template][1].partition("{instruction}")[0].strip() or None

    def chat(self, turns: list[dict[str, str]]) -> str:
        """``turns`` in the tokenizer's own chat form, up to where the assistant's next answer begins.

        Raises:
            UserError: for a tokenizer without a chat template.
        """
        if getattr(self.processor, "chat_template", None) is None:
            raise UserError(
                "task.template=chat needs a tokenizer with a chat template, and this backbone's has none; take "
                "task.template=alpaca"
            )
        return str(self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The negative log-likelihoods (n,) of the answers in nats, and their numbers of tokens (n,)."""
        return predictions[:, 0], predictions[:, 1]
