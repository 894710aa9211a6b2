"""MT-Bench, the judging half: answers of a trained model are graded 1–10 by a model behind an OpenAI-compatible server.

It knows the file of answers (`uora_bench.mt_bench.judge.answers`) and nothing of models, training or records.
"""
