"""A finished cell's answers to a batch of questions, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from uora_bench.data import batching
from uora_bench.data.ragged import Ragged
from uora_bench.errors import UserError
from uora_bench.export.loading import Loaded
from uora_bench.export.source import HALF
from uora_bench.models import backbones
from uora_bench.mt_bench.judge.answers import Answer
from uora_bench.mt_bench.kept import Asked
from uora_bench.mt_bench.questions import Question
from uora_bench.mt_bench.sampling import LENGTH, NEW_PROMPT, Ending, Sampler
from uora_bench.tasks.causal import Prompts, pad_id
from uora_bench.tasks.instruct import Instruct
from uora_bench.util.seeds import derive


class Writer:
    """The model on its device, and how it answers what is ``asked`` with at most ``max_new_tokens`` an answer.

    An answer may take half of the backbone's positions at most (``longest`` tokens), however short its prompt is. A
    prompt that leaves it less room than that loses its earliest tokens after the beginning-of-text token.

    Raises:
        UserError: for a backbone whose positions are used up by the method's own tokens.
    """

    def __init__(self, loaded: Loaded, task: Instruct, asked: Asked, seed: int, max_new_tokens: int) -> None:
        self.task, self.asked, self.seed = task, asked, seed
        self.tokenizer = task.processor = loaded.tokenizer
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # in half precision merging would round W + ΔW: there the adapter stays beside the weights, as in training
        self.merged = loaded.method.mergeable and loaded.cell.backbone.dtype not in HALF
        if self.merged:
            loaded.method.merge()
        self.model: Any = loaded.model.to(self.device)
        # what every answer was trained to end with, whatever else the backbone's own settings name; nor do its
        # penalties and sampling settings reach in
        self.end_of_text = int(self.tokenizer.eos_token_id)
        self.model.generation_config = GenerationConfig()
        # PEFT puts virtual tokens before the padding, and what comes between them and the prompt would change answers
        self.together = loaded.method.config.extra_tokens == 0
        self.positions = backbones.max_tokens(self.model)
        if self.positions is not None:
            self.positions -= loaded.method.config.extra_tokens
            if self.positions < 2:
                raise UserError(
                    f"backbone={loaded.cell.backbone.name} has no positions left for a prompt and an answer"
                )
        self.longest = max_new_tokens if self.positions is None else min(max_new_tokens, self.positions // 2)
        self.facts = {
            "max_new_tokens": self.longest,
            "backbone": {k: v for k, v in loaded.origin.items() if k in ("revision", "commit", "weights_sha256")},
            "dtype": loaded.cell.backbone.dtype,
            "quantisation": loaded.cell.backbone.quantisation,
            "device": self.device.type,
            "merged": self.merged,
        }

    def answer(self, batch: Sequence[Question]) -> list[Answer]:
        """The answers to ``batch``: the first turn of all, then the second of those that have (and are asked) one.

        Raises:
            CellError: for logits that are no numbers.
        """
        said: list[list[str]] = [[] for _ in batch]
        notes: list[dict[str, list[Any]]] = [{"tokens": [], "ended": [], "prompt_tokens_dropped": []} for _ in batch]
        for turn in range(1 if self.asked.facts["turns"] == "1" else 2):
            rows = [i for i, question in enumerate(batch) if len(question.turns) > turn]
            if not rows:
                break
            texts = [self.task.dialogue(batch[i].turns[: turn + 1], said[i]) for i in rows]
            prompts, dropped = self.fit(self.task.prompts(texts, np.zeros(len(texts)), self.tokenizer))
            replies = self._generate(prompts, [batch[i] for i in rows], turn + 1)
            for i, lost, (text, tokens, ended) in zip(rows, dropped, replies, strict=True):
                said[i].append(text)
                for key, value in (("tokens", tokens), ("ended", ended), ("prompt_tokens_dropped", lost)):
                    notes[i][key].append(value)
        return [
            Answer(
                question_id=question.question_id,
                category=question.category,
                turns=question.turns,
                answers=tuple(said[i]),
                temperature=self.asked.temperatures[question.question_id],
                generation={**self.asked.facts, **self.facts, **notes[i]},
            )
            for i, question in enumerate(batch)
        ]

    def batches(self, questions: Sequence[Question], size: int) -> list[np.ndarray]:
        """Indices of ``questions`` in batches of at most ``size``, the longest first prompts first."""
        texts = [self.task.dialogue(question.turns[:1], ()) for question in questions]
        lengths = self.task.prompts(texts, np.zeros(len(texts)), self.tokenizer).lengths
        return batching.evaluation_batches(lengths, size if self.together else 1, 0, 1)

    def fit(self, prompts: Prompts) -> tuple[Prompts, list[int]]:
        """``prompts`` cut to the positions that an answer leaves them, and how many tokens each has lost."""
        ids = [row.tolist() for row in prompts.features["input_ids"]]
        room = None if self.positions is None else self.positions - self.longest
        lost = [0 if room is None else max(0, len(row) - room) for row in ids]
        first = int(self.task.starts_with_bos)
        kept = Ragged.of([row[:first] + row[first + n :] for row, n in zip(ids, lost, strict=True)])
        return replace(prompts, features={"input_ids": kept}, lengths=kept.lengths), lost

    def _generate(self, prompts: Prompts, questions: Sequence[Question], turn: int) -> list[tuple[str, int, str]]:
        """(text, tokens, how it ended) of the answer to each of ``prompts``."""
        width = int(prompts.lengths.max())
        batch = self.task.collate(prompts, range(len(prompts)), "dynamic")
        given = {k: v[:, -width:].to(self.device) for k, v in batch.items()}  # no more padding than the batch needs
        sampler = Sampler(
            [self.asked.temperatures[q.question_id] for q in questions],
            [derive(self.seed, "mt_bench", q.question_id, turn) for q in questions],
            width,
            self.longest,
            self.device,
        )
        ending = Ending(self.tokenizer, self.end_of_text, self.task.new_prompt, width, len(questions))
        settings = GenerationConfig(
            max_new_tokens=self.longest,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.end_of_text,
            pad_token_id=pad_id(self.tokenizer),
        )
        with torch.inference_mode():
            made = self.model.generate(
                **given,
                generation_config=settings,
                logits_processor=LogitsProcessorList([sampler]),
                stopping_criteria=StoppingCriteriaList([ending]),
            )
        rows = made[:, width:].tolist()
        return [self._text(row, ending.lengths[i], ending.ended[i]) for i, row in enumerate(rows)]

    def _text(self, tokens: list[int], length: int | None, ended: str | None) -> tuple[str, int, str]:
        tokens = tokens[:length]
        text = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if self.task.new_prompt is not None:
            text, found, _ = text.partition(self.task.new_prompt)
            ended = NEW_PROMPT if found else ended
        return text.strip(), len(tokens), ended or LENGTH
