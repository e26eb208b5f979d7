"""Figures of a report, as matplotlib figures and as inline SVG; none touches pyplot or its state."""

import html
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from ecgsynth.beats import Beats
from ecgsynth.labels import AAMI_CLASSES, CLASS_NAMES

MM_PER_S = 25.0
MM_PER_MV = 10.0
WIDTH = 186.0
"""mm that every figure fits in: A4 less its margins."""

INK = "#1b2733"
"""Lines and letters off the ECG paper."""
REAL = "#0072b2"
SYNTHETIC = "#d55e00"
"""Blue and vermilion of Okabe and Ito, told apart with every kind of colour vision."""

_TRACE, _PAPER, _FINE, _COARSE = "#14171a", "#fffaf5", "#f7d4cd", "#e9a59c"
CALIBRATION = 10.0  # mm before the first beat, for the 1 mV mark
_GAP = 5.0  # mm between real and generated
_EDGE = 0.5  # mm left and right of them
_TITLE = 6.0  # mm above each strip
_LIMIT = 5.0  # mV beyond which a trace is cut off
_MEANS, _SHADE = (2.0, 0.9), 0.3  # widths of the mean lines, real and synthetic; opacity of a band

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 4,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "figure.facecolor": "white",
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgsynth",
}


@matplotlib.rc_context(STYLE)
def real_beside_generated(real: Beats, synthetic: Beats, *, per_class: int = 4) -> Figure:
    """Draw all classes on ECG paper, one a row: real beats left, generated ones right.

    Parameters
    ----------
    real, synthetic : Beats
        Every class of either gets a row.
    per_class : int
        Beats of each kind in a row, spread evenly over those there are.

    Returns
    -------
    Figure
        At true scale: 25 mm/s, 10 mm/mV.

    Raises
    ------
    ValueError
        If there is no beat, or fewer than one is asked for.
    """
    return _paper([name for name in AAMI_CLASSES if name in {*real.counts(), *synthetic.counts()}], real, synthetic, per_class)


@matplotlib.rc_context(STYLE)
def ecg_paper(real: Beats, synthetic: Beats, aami_class: str, *, per_class: int = 4) -> Figure:
    """Draw the row of one class of `real_beside_generated`."""
    return _paper([aami_class], real, synthetic, per_class)


@matplotlib.rc_context(STYLE)
def spread(real: Beats, synthetic: Beats) -> Figure:
    """Draw for each class the mean beat and the band from the 5th to the 95th percentile, synthetic over real.

    Parameters
    ----------
    real, synthetic : Beats
        The classes that both have are drawn.

    Raises
    ------
    ValueError
        If they have none in common.
    """
    classes = [name for name in real.counts() if name in synthetic.counts()]
    if not classes:
        raise ValueError("real and synthetic beats have no class in common")
    columns, height = min(3, len(classes)), 46.0
    rows = math.ceil(len(classes) / columns)
    width = WIDTH / columns
    figure = blank(WIDTH, rows * height + 7)
    for place, name in enumerate(classes):
        row, column = divmod(place, columns)
        axes = axes_at(figure, column * width + 13, (rows - 1 - row) * height + 10, width - 15, height - 17)
        _draw_spread(axes, real, synthetic, name)
        axes.set_title(f"{name} · {CLASS_NAMES[name]}", x=-0.15, fontsize=7.5, fontweight="normal")
        axes.margins(x=0)
        axes.grid(alpha=0.15, color=INK, linewidth=0.5)
        if place + columns >= len(classes):
            axes.set_xlabel("ms from the R peak")
        if not column:
            axes.set_ylabel("mV")
    band = Patch(color=REAL, alpha=_SHADE, linewidth=0)
    means = [Line2D([], [], color=color, linewidth=width) for color, width in zip((REAL, SYNTHETIC), _MEANS, strict=True)]
    handles: list[Any] = [(band, means[0]), means[1], _edge_line()]
    labels = [f"{_word(real)}: mean, 5th to 95th percentile", "synthetic: mean", "synthetic: 5th and 95th percentile"]
    figure.legend(handles, labels, loc="upper left", ncols=3, borderaxespad=0.2, handlelength=2.5, columnspacing=2.5)
    return figure


def to_svg(figure: Figure, *, key: str, label: str) -> str:
    """Turn a figure into an ``<svg>`` element to stand in an HTML page.

    Parameters
    ----------
    figure : Figure
        The background is left out; what is drawn in `INK` takes the colour of the page's text, and the page may
        set ``--real`` and ``--synthetic``.
    key : str
        Put before every id, so that several figures can stand in one page.
    label : str
        What the picture shows, for those who cannot see it.

    Returns
    -------
    str
        Its size is given in mm. Same figure, same text.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", facecolor="none", metadata=nothing)
    text = buffer.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    # Its one style rule is for all elements, so it would reach out into the page.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{key}-', body).replace("url(#", f"url(#{key}-")
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><").strip()
    for color, of_page in ((INK, "currentColor"), (REAL, f"var(--real, {REAL})"), (SYNTHETIC, f"var(--synthetic, {SYNTHETIC})")):
        body = body.replace(color, of_page)
    width, height = (float(inches) for inches in figure.get_size_inches())
    size = f'width="{width * 25.4:.3f}mm" height="{height * 25.4:.3f}mm" viewBox="0 0 {width * 72:.6g} {height * 72:.6g}"'
    return f'<svg role="img" aria-label="{html.escape(label)}" {size}>{body}'


def blank(width: float, height: float) -> Figure:
    """Make an empty figure; mm."""
    return Figure(figsize=(width / 25.4, height / 25.4))


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes; mm from the lower left corner."""
    across, up = figure.get_size_inches() * 25.4
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _word(real: Beats) -> str:
    return "simulated" if real.source == "simulated" else "real"


def cell_width(beats: Beats) -> float:
    """Give the mm of ECG paper that one beat takes: whole large squares, with a little room."""
    return 5 * math.ceil((beats.n_samples / beats.fs * MM_PER_S + 1) / 5)


def _paper(classes: Sequence[str], real: Beats, synthetic: Beats, per_class: int) -> Figure:
    if not classes or per_class < 1:
        raise ValueError("no beat to draw")
    rows = []
    for name in classes:
        pair = [_choose(beats, name, per_class) for beats in (real, synthetic)]
        rows.append((name, pair, _limits(pair)))
    strip = CALIBRATION + per_class * max(cell_width(real), cell_width(synthetic))
    heights = [(top - bottom) * MM_PER_MV for _, _, (bottom, top) in rows]
    figure = blank(2 * strip + _GAP + 2 * _EDGE, sum(heights) + len(rows) * _TITLE + (len(rows) - 1) * 3 + 0.4)
    below = figure.get_size_inches()[1] * 25.4
    for (name, pair, limits), height in zip(rows, heights, strict=True):
        below -= _TITLE + height
        for side, (beats, word) in enumerate(zip(pair, (_word(real), "synthetic"), strict=True)):
            axes = axes_at(figure, _EDGE + side * (strip + _GAP), below, strip, height)
            _draw_paper(axes, strip / MM_PER_S, limits)
            _draw_beats(axes, beats, strip, per_class)
            axes.set_title(f"{name} · {word}" if side else f"{name} · {CLASS_NAMES[name]}, {word}")
            if side:
                cut = any((np.abs(_shown(beats)) > _LIMIT).any() for beats in pair)
                axes.set_title("25 mm/s   10 mm/mV" + ("   cut off at ±5 mV" if cut else ""), loc="right", fontsize=7, fontweight="normal")
        below -= 3
    return figure


def _shown(beats: Beats) -> NDArray[np.float32]:
    """Give the lead that is drawn: the first."""
    return beats.signals if beats.signals.ndim == 2 else np.asarray(beats.signals[:, 0])


def _choose(beats: Beats, aami_class: str, count: int) -> Beats:
    members = np.flatnonzero(beats.classes == aami_class)
    places = np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)
    return beats.take(members[places])


def _limits(pair: Sequence[Beats]) -> tuple[float, float]:
    """Give the voltages at the lower and upper edge: whole large squares around the beats and the 1 mV mark."""
    values = np.concatenate([[-0.3, 1.3], *(_shown(beats).ravel() for beats in pair)])
    low, high = np.clip([np.nanmin(values) - 0.1, np.nanmax(values) + 0.1], -_LIMIT, _LIMIT)
    return math.floor(2 * low) / 2, math.ceil(2 * high) / 2


def _draw_paper(axes: Axes, seconds: float, limits: tuple[float, float]) -> None:
    """Rule squares of 1 mm and, heavier, of 5 mm; axes are in s and mV."""
    axes.set(xlim=(0, seconds), ylim=limits, facecolor=_PAPER, xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=_COARSE, linewidth=0.5)
    for step, color, width in ((1, _FINE, 0.25), (5, _COARSE, 0.45)):
        upright = np.arange(0, round(seconds * MM_PER_S) + 1, step) / MM_PER_S
        level = np.arange(round(limits[0] * MM_PER_MV), round(limits[1] * MM_PER_MV) + 1, step) / MM_PER_MV
        axes.plot(*_rules(upright, limits), color=color, linewidth=width, zorder=1)
        axes.plot(*_rules(level, (0, seconds))[::-1], color=color, linewidth=width, zorder=1)


def _rules(places: NDArray[np.float64], ends: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give parallel lines as one broken line: where they are, and from where to where they go."""
    return np.repeat(places, 3), np.tile([*ends, np.nan], len(places))


def _draw_beats(axes: Axes, beats: Beats, strip: float, per_class: int) -> None:
    """Draw the 1 mV mark, then each beat in its own cell."""
    mark = np.array([1.5, 3, 3, 8, 8, 9]) / MM_PER_S
    axes.plot(mark, [0, 0, 1, 1, 0, 0], color=_TRACE, linewidth=0.8, zorder=2)
    axes.text(5.5 / MM_PER_S, 1.04, "1 mV", ha="center", va="bottom", fontsize=6, color=_TRACE, zorder=2)
    cell = (strip - CALIBRATION) / per_class
    seconds = np.arange(beats.n_samples) / beats.fs
    for place, signal in enumerate(_shown(beats)):
        start = (CALIBRATION + place * cell + cell / 2) / MM_PER_S - beats.n_samples / beats.fs / 2
        axes.plot(start + seconds, signal, color=_TRACE, linewidth=0.9, zorder=3)
    if not len(beats):
        middle = (CALIBRATION + strip) / 2 / MM_PER_S
        axes.text(middle, 0.5, "no beat of this class", ha="center", va="center", color=_TRACE, zorder=3)


def _draw_spread(axes: Axes, real: Beats, synthetic: Beats, aami_class: str) -> None:
    """Draw the real band filled and the synthetic one by its edges, so that both are seen where they agree."""
    for beats in (real, synthetic):
        signals = _shown(beats)[beats.classes == aami_class]
        milliseconds = (np.arange(beats.n_samples) - beats.r_sample) / beats.fs * 1000
        low, high = np.percentile(signals, [5, 95], axis=0)
        if beats is real:
            axes.fill_between(milliseconds, low, high, color=REAL, alpha=_SHADE, linewidth=0)
        else:
            for values in (low, high):
                axes.add_line(_edge_line(milliseconds, values))
        axes.plot(milliseconds, signals.mean(axis=0), color=REAL if beats is real else SYNTHETIC, linewidth=_MEANS[beats is not real])


def _edge_line(x: ArrayLike = (), y: ArrayLike = ()) -> Line2D:
    return Line2D(x, y, color=SYNTHETIC, linewidth=0.8, linestyle=(0, (3, 1.2)))
