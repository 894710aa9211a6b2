"""A few questions as MT-Bench asks them."""

from __future__ import annotations

from uora_bench.mt_bench.questions import Question

ASKED = (
    Question(1, "writing", ("Describe a garden in spring.", "Now make it half as long.")),
    Question(2, "math", ("What is seven times six?", "And divided by two?")),
    Question(3, "stem", ("Why is the sky blue, and why is the evening sky red? Explain it to a child.",)),
    Question(4, "roleplay", ("You are a lighthouse.", "You are a ship.")),
)
