"""``uora-bench plan``: grids of cells.

A preset or a sweep is expanded, compared with the records that are there, estimated, printed, and handed to a launcher.
Nothing in here imports torch, transformers or datasets.

`grid` expands (with `preset` for configs/experiment/), `diff` compares, `estimate` estimates what is left, `show`
prints, `model` is what they hand to each other and to `uora_bench.grid.launch`.
"""
