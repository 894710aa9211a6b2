"""Everything that is matplotlib's and common to all figures: settings, panels, axes, legend, and the formats."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from uora_bench.errors import UserError
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import style
from uora_bench.report.figures.style import Look

_LEGEND = 7  # points
_SETTINGS = {
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a label is no formula, whatever signs it holds
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; the whole list would stand at every text of an SVG
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": _LEGEND,
    "legend.columnspacing": 1.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": style.GRID,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.7,
    "lines.linewidth": 1.2,
}
WIDTH = 7.0  # inches: the text width of a page; a single panel takes less
_SINGLE = 4.4


_POSITIONS = re.compile(r'(?<= )(?:x|y|d|transform)="[^"]*"')
_DIGITS = re.compile(r"(\.\d)\d+")
_TURNED = re.compile(r' transform="rotate\(-0 [^"]*"')
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def require() -> None:
    """Raise `UserError` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("figures need matplotlib; install the extra `figures`: pip install -e '.[figures]'") from None


@contextlib.contextmanager
def _settings(name: str) -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        # ids inside the file: the same every time, and others in every figure, so that one page can hold them all
        settings: dict[Any, Any] = {**_SETTINGS, "svg.hashsalt": f"uora_bench {name}"}
        matplotlib.rcParams.update(settings)
        yield


def render(spec: FigureSpec, formats: Sequence[str] = ("svg",)) -> dict[str, bytes]:
    """The picture of ``spec`` in each of ``formats`` (svg, pdf, png), the same bytes with one version of matplotlib.

    Raises:
        UserError: where matplotlib is not installed.
    """
    require()
    found = {}
    with _settings(spec.name):
        figure = spec.draw()
        for kind in formats:
            written = io.BytesIO()
            named = {"Title": spec.title, **({"Identifier": spec.digest} if kind == "svg" else {})}
            figure.savefig(written, format=kind, dpi=200, metadata={**_METADATA[kind], **named})
            found[kind] = written.getvalue()
    if "svg" in found:
        found["svg"] = _finished(found["svg"].decode("utf-8")).encode("utf-8")
    return found


def _finished(svg: str) -> str:
    """``svg`` without what is not seen, with positions to 0.1 points, and with colours for a dark screen.

    Programs that know no such rule show the light ones.
    """
    svg = "\n".join(line.strip() for line in svg.splitlines()) + "\n"
    svg = _TURNED.sub("", svg)
    svg = _POSITIONS.sub(lambda found: _DIGITS.sub(r"\1", found[0]), svg)
    used = [
        f'[style*="{kind}: {light}"] {{{kind}: {dark} !important}}'
        for light, dark in style.DARK.items()
        for kind in ("fill", "stroke")
        if f"{kind}: {light}" in svg
    ]
    unsaid = f"svg {{fill: {style.DARK[style.BLACK]}}}"  # black is what an SVG need not say
    rules = "\n".join(["@media (prefers-color-scheme: dark) {", unsaid, *used, "}"])
    return svg.replace("<defs>\n", f"<style>{rules}</style>\n<defs>\n", 1)


def blank(height: float, width: float = WIDTH) -> Any:
    """A figure of that size in inches, without axes yet; what will stand around them gets its room."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panels(count: int, labels: Sequence[str], height: float = 2.3) -> tuple[Any, list[Any]]:
    """A figure with ``count`` axes, and room below for a legend of ``labels``."""
    columns = count if count < 3 else 2 if count == 4 else 3
    rows = -(-count // columns)
    # a long legend takes the width too
    width = _SINGLE if columns == 1 and legend_height(_SINGLE, labels) < height else WIDTH
    figure = blank(rows * height + legend_height(width, labels), width)
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.06, h_pad=0.05)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def line(label: str, look: Look | None = None, width: float = 1.0, **options: Any) -> Any:
    """A handle of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({**look.line(), "linewidth": width} if look else {}), **options)


def legend_columns(width: float, labels: Sequence[str]) -> int:
    """How many columns of a legend fit into a row of ``width`` inches, at most four."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=_LEGEND)
    widest = max(text_to_path.get_text_width_height_descent(label, font, ismath=False)[0] for label in labels)
    # in lengths of the font size: a handle of 3 and 0.8 to the text, 1.5 between columns, 1 around all of them
    one = widest + 3.8 * _LEGEND
    return max(1, min(4, len(labels), int((72 * width + 0.5 * _LEGEND) / (one + 1.5 * _LEGEND))))


def legend_height(width: float, labels: Sequence[str]) -> float:
    """Inches."""
    return 0.2 + 0.155 * -(-len(labels) // legend_columns(width, labels))


def legend(figure: Any, looks: Mapping[str, Look], more: Sequence[Any] = (), lines: bool = False) -> None:
    """One legend for the whole figure, below the panels; ``more``: handles that are of no row."""
    handles = [
        line(label, linewidth=1.2, **{**look.markers(5), **(look.line() if lines else {"ls": "none"})})
        for label, look in looks.items()
    ]
    handles += more
    columns = legend_columns(figure.get_figwidth(), [handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3.0 if lines else 1.5)


def band(
    ax: Any, points: Sequence[Mapping[str, Any]], value: str, look: Look, size: float, alpha: float, **options: Any
) -> None:
    """One row over epochs: a line, and a band from the lowest to the highest where a point is of several seeds."""
    from matplotlib.ticker import MaxNLocator

    epochs = [p["epoch"] for p in points]
    if any(p["n"] > 1 for p in points):
        low, high = [p["min"] for p in points], [p["max"] for p in points]
        ax.fill_between(epochs, low, high, color=look.colour, alpha=alpha, linewidth=0, zorder=1)
    ax.plot(epochs, [p[value] for p in points], **{**options, **look.markers(size), **look.line()})
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def score_axis(ax: Any, values: Sequence[float], higher_is_better: bool, label: str, most: int = 0) -> None:
    """The y axis of a score: logarithmic where it is a loss that spans more than a decade.

    ``most``: as many ticks at most, 0 for what fits.
    """
    if most:
        ax.locator_params(axis="y", nbins=most)
    if not higher_is_better:
        label = f"{label}\n(lower is better)" if label else ""
        if min(values) > 0 and max(values) > 10 * min(values):
            ax.set_yscale("log")
            ticks(ax.yaxis)
    ax.set_ylabel(label)
    ax.margins(y=0.1)


def short(value: float) -> str:
    """1500 as ``1.5k``, 2e7 as ``20M``."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:g}"


def ticks(axis: Any, at: Sequence[float] | None = None, text: Callable[[float], str] = short) -> None:
    """Ticks of a logarithmic axis as plain numbers: ``at`` these values.

    Without, at decades, and between them where there are few.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12) if at is None else FixedLocator(at))
    axis.set_major_formatter(lambda value, _: text(value))
    axis.set_minor_locator(NullLocator())


def decades(axis: Any, shown: Sequence[float]) -> None:
    """At most five powers of ten as ticks of a logarithmic axis."""
    low, high = math.ceil(math.log10(min(shown)) - 1e-9), math.floor(math.log10(max(shown)) + 1e-9)
    step = max(1, -(-(high - low) // 4))
    ticks(axis, [10.0**k for k in range(low, high + 1, step)], "{:g}".format)


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (left, low, right, high) do."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
