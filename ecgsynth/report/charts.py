"""Charts of a report: how a generator was trained, and how classifiers did."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ecgsynth.generators.history import TrainingStep
from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.report.figures import INK, REAL, STYLE, SYNTHETIC, WIDTH, axes_at, blank

_MOST_STEPS = 2000  # points a training curve is thinned to


@matplotlib.rc_context(STYLE)
def training_curves(history: Sequence[TrainingStep]) -> Figure:
    """Draw the losses, the critic's score gap and, where they were measured, the validation scores over the steps.

    A dotted line marks the step whose weights were kept.

    Raises
    ------
    ValueError
        If there is no step.
    """
    if not history:
        raise ValueError("no training step to draw")
    kept = kept_step(history)
    drawn = history[:: math.ceil(len(history) / _MOST_STEPS)]
    scored = [step for step in history if step.detection is not None or step.validation_score is not None]
    found = [
        ("generator loss", drawn, [step.generator_loss for step in drawn]),
        ("critic loss", drawn, [step.critic_loss for step in drawn]),
        ("critic score, real minus generated", drawn, [step.score_gap for step in drawn]),
        ("validation score (macro-F1)", scored, [step.validation_score for step in scored]),
        ("detection score (0.5 is ideal)", scored, [step.detection for step in scored]),
    ]
    curves = [curve for curve in found if np.isfinite(np.asarray(curve[2], dtype=float)).any()]
    rows = -(-len(curves) // 2)
    figure = blank(WIDTH, 52 * rows)
    for place, (title, steps, values) in enumerate(curves):
        row, column = divmod(place, 2)
        axes = axes_at(figure, column * WIDTH / 2 + 13, (rows - 1 - row) * 52 + 11, WIDTH / 2 - 17, 34)
        few = len(steps) <= 60
        axes.plot([step.step for step in steps], np.asarray(values, dtype=float), color=REAL, marker="." if few else "", markersize=3)
        axes.set_title(title)
        axes.grid(alpha=0.15, color=INK, linewidth=0.5)
        axes.set_xlabel("step")
        if kept is not None:
            axes.axvline(kept.step, color=SYNTHETIC, linestyle=":", linewidth=1)
        if kept is not None and title.startswith("validation"):
            axes.plot(kept.step, np.asarray(kept.validation_score, dtype=float), "o", color=SYNTHETIC, markersize=5)
            axes.set_title(f"kept: step {kept.step:,}", loc="right", color=SYNTHETIC, fontweight="normal")
    return figure


def kept_step(history: Sequence[TrainingStep]) -> TrainingStep | None:
    """Give the step whose weights were kept: the last one marked best, if any is."""
    return next((step for step in reversed(history) if step.best), None)


@matplotlib.rc_context(STYLE)
def added(worth: Mapping[str, Mapping[float, Interval]]) -> Figure:
    """Draw the macro-F1 of classifiers over the share of the synthetic beats that they learnt from beside the real ones.

    Parameters
    ----------
    worth : mapping of str to mapping of float to Interval
        Classifier -> share, 0 to 1 -> macro-F1 with its 95 % interval.
    """
    figure, width = blank(WIDTH, 48), WIDTH / len(worth)
    ends = [end for found in worth.values() for interval in found.values() for end in interval]
    for place, (name, found) in enumerate(worth.items()):
        axes = axes_at(figure, place * width + 13, 11, width - 17, 30)
        values, low, high = np.transpose(list(found.values()))
        axes.axhline(found[0.0].value, color=REAL, linewidth=0.8, linestyle=":")
        axes.errorbar(
            list(found), values, np.maximum(0, [values - low, high - values]), color=SYNTHETIC, marker=".", markersize=5, capsize=2
        )
        axes.set(ylim=(np.nanmin(ends) - 0.01, np.nanmax(ends) + 0.01), xticks=list(found), title=name)
        axes.set_xticklabels([f"{100 * share:g} %" for share in found])
        axes.grid(alpha=0.15, color=INK, linewidth=0.5)
        axes.set_xlabel("of the synthetic beats, added")
        if not place:
            axes.set_ylabel("macro-F1")
    return figure


@matplotlib.rc_context(STYLE)
def confusion(matrices: Mapping[str, ArrayLike], classes: Sequence[str]) -> Figure:
    """Draw confusion matrices side by side: percentage of each row's beats, and their count.

    Parameters
    ----------
    matrices : mapping of str to array of int, shape (n_classes, n_classes)
        Title -> counts; row: annotated class, column: predicted class.
    classes : sequence of str
        What rows and columns stand for.
    """
    size = len(classes)
    height = size * 12.0
    figure = blank(WIDTH, height + 19)
    for place, (title, matrix) in enumerate(matrices.items()):
        counts = np.asarray(matrix)
        percent = row_percentages(counts)
        axes = axes_at(figure, place * WIDTH / 2 + 20, 4, WIDTH / 2 - 24, height)
        axes.pcolormesh(percent, vmin=0, vmax=100, cmap="Blues", edgecolors="#9fb3c4", linewidth=0.4)
        for row, column in np.ndindex(size, size):
            color = "white" if percent[row, column] > 55 else "#14171a"
            axes.text(column + 0.5, row + 0.46, f"{percent[row, column]:.1f} %", ha="center", va="bottom", color=color, fontsize=8)
            axes.text(column + 0.5, row + 0.58, f"{counts[row, column]:,}", ha="center", va="top", color=color, fontsize=6.5)
        axes.set(xlim=(0, size), ylim=(size, 0))
        axes.set_xticks(np.arange(size) + 0.5, classes, fontsize=9, fontweight="bold")
        axes.set_yticks(np.arange(size) + 0.5, [f"{name}\n{total:,}" for name, total in zip(classes, counts.sum(axis=1), strict=True)])
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.set_ylabel("annotated (beats)")
        axes.set_xlabel("predicted")
        axes.xaxis.set_label_position("top")
        axes.set_title(title)
    return figure


def row_percentages(counts: ArrayLike) -> NDArray[np.float64]:
    """Give each row as percentages of its sum; a row of zeros stays so."""
    counts = np.asarray(counts, dtype=float)
    return np.asarray(100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
