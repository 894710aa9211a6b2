"""The text that `tiny_roberta` is pretrained on: claims of the grammar of `tiny/nli`, linked by a word that fits."""

import random
from collections.abc import Iterator
from dataclasses import replace

from uora_bench.data.generated import nli
from uora_bench.data.generated.grammar import CONTRADICTION, ENTAILMENT, NEUTRAL, PARENT

CONNECTIVES = {
    ENTAILMENT: ("so", "thus"),
    NEUTRAL: ("maybe", "perhaps"),
    CONTRADICTION: ("but", "yet"),
}


def corpus(n: int, seed: int) -> Iterator[str]:
    """Yields `n` lines of plain text, the same ones for the same seed.

    Most lines are two sentences, the second opened by a discourse word ("so", "maybe", "but" and the like) that fits
    their relation, short ones among them; some are one sentence about what is a kind of what. No pair of a task split
    occurs.
    """
    taken = {(row["premise"], row["hypothesis"]) for split in nli.TRIPLES for row in nli.rows(split)}
    rng = random.Random(f"tiny corpus {seed}")
    while n > 0:
        if rng.random() < 0.1:
            child = rng.choice(tuple(PARENT))
            line = f"{child} is a kind of {PARENT[child]} ."
        else:
            hypothesis, wanted = nli.draw_claim(rng), rng.choice(tuple(CONNECTIVES))
            bare = rng.random() < 0.4
            if bare:
                hypothesis = replace(hypothesis, facets=hypothesis.facets[:1], day=None)
            premises = nli.draw_premises(hypothesis, wanted, rng, 30, 1, bare)
            if not premises or (premises[0].text(), hypothesis.text()) in taken:
                continue
            line = f"{premises[0].text()} {rng.choice(CONNECTIVES[wanted])} {hypothesis.text()}"
        yield line
        n -= 1
