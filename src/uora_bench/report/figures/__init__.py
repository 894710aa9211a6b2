"""Figures of an experiment, drawn from its records.

matplotlib (extra `figures`) is imported only when something is drawn.
"""

from uora_bench.report.figures.files import command, drawn_figures

__all__ = ["command", "drawn_figures"]
