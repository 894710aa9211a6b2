"""Figures of an experiment, drawn from its records. matplotlib (extra `figures`) is imported when something is drawn,
and not before."""

from uora_bench.report.figure_spec import Drawing
from uora_bench.report.figures.files import command, drawings

__all__ = ["Drawing", "command", "drawings"]
