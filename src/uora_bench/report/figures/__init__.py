"""Figures of an experiment, drawn from its records. matplotlib (extra `figures`) is imported when something is drawn,
and not before."""

from uora_bench.report.figures.files import command, drawn_figures

__all__ = ["command", "drawn_figures"]
