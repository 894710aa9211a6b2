"""MT-Bench, the answering half: a finished instruction-tuning cell answers both turns of the questions.

What it leaves is the file of answers (`uora_bench.mt_bench.judge.answers`), which `uora_bench.mt_bench.judge` grades.
"""
