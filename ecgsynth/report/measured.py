"""What was measured of synthetic beats, set in tables with words that say how to read each number."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecgsynth.families import FROZEN_TITLE
from ecgsynth.findings import Evaluation
from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.metrics.privacy import NEAR
from ecgsynth.scores import Score

WORDS = {
    "MMD": "How far apart all waveforms of both kinds lie, by a Gaussian kernel; 0 where they are alike.",
    "Fréchet distance, mV²": "How far apart mean and spread of both kinds are, in 16 principal components.",
    FROZEN_TITLE: "The same in what a fixed classifier of arrhythmias sees; the fewer beats, the larger.",
    "precision": "Share of the beats that lie within the cloud of real test beats: plausible ones.",
    "recall": "Share of real test beats that lie within the cloud of these beats. Noise makes that cloud wide: see coverage.",
    "density": "How deep within the cloud of real beats these beats lie: above that of real beats, they crowd in its middle.",
    "coverage": "Share of real test beats that have one of these beats near: variety.",
    "spectrum, dB": "How much the power at each frequency differs.",
    "warped distance to the class mean, mV": "How differently both kinds scatter about the class's mean beat, timing set aside.",
    "found out by trees, area": "How well boosted trees tell these beats from real test beats: 0.5 is guessing, 1 is always.",
    "near copies": "Share of beats nearer to a training beat than all but one of a hundred fresh real beats are.",
    "distance to train over distance to test": "Of the middle beat, to the nearest real one of either side: near 0 where beats are copies.",
    "nearest patient over second nearest": "Near 0 where a beat points at one training patient alone, near 1 where it could be of several.",
    "RMSE to the nearest training beat, mV": "Often shown as quality. It rewards copying, so here it tells of memory.",
    "PRD to the nearest training beat, %": "The same as a percentage of that beat.",
    "membership of a patient, area": "How well whoever holds a patient's beats tells if they were learnt from: 0.5 is guessing.",
    "sex of a patient, excess": "How much oftener who knows whom copies are of guesses sex of patients learnt from than that of others.",
    "age of a patient, excess": "The same of being older than half of the patients.",
    "recognition of a patient, area": "The same by a classifier that knows all these patients, learnt from or not.",
}
"""What each number means, for a reader who has not met it."""

_MOVED = "How far the values of both kinds lie apart in the mean, once they are sorted."
_SHARE = "Share of beats: with an upright P or T wave, or outside what is normal in healthy adults."

TITLES = {
    "fidelity": (
        "Are they like real beats?",
        "Compared with real test beats of the same class.",
    ),
    "physiology": ("Are they hearts?", "Waves are found by a delineator, in synthetic and real test beats alike."),
    "privacy": ("Can anyone be found in them?", "These beats are to be as fresh real beats are, and unlike copies."),
}

_UNASKED = (
    "Attacks on patients could not be made: the same patients stand on several sides of this division, so that none is left to "
    "compare with. A division by patients answers them."
)


class Line(NamedTuple):
    """A measure: its name, how to read it, which way is better, and the number of each label that has one."""

    measure: str
    words: str
    goal: str
    cells: dict[str, Score]


class Table(NamedTuple):
    """A family of measures."""

    family: str
    title: str
    words: str
    labels: list[str]
    lines: list[Line]


ADDED = {"real": 0.0, "real+quarter": 0.25, "real+half": 0.5, "real+synthetic": 1.0}
"""The share of the synthetic beats that each row adds to the real ones."""


def worth_added(evaluation: Evaluation) -> dict[str, dict[float, Interval]]:
    """Give, for each classifier, its macro-F1 by the share of synthetic beats added to the real ones; none where none were."""
    rows = [row for row in ADDED if row in evaluation.rows]
    if len(rows) < 2 or "real" not in rows:
        return {}
    return {name: {ADDED[row]: evaluation.intervals(row, classifier=name)["macro-F1"] for row in rows} for name in evaluation.classifiers}


def tables(evaluation: Evaluation) -> list[Table]:
    """Set what was measured in a table a family."""
    found = []
    for family, (title, words) in TITLES.items():
        own = [score for score in evaluation.measured if score.family == family]
        if own:
            labels = list(dict.fromkeys(score.label for score in own))
            unasked = family == "privacy" and not any("patient," in score.measure for score in own)
            found.append(Table(family, title, f"{words} {_UNASKED}" if unasked else words, labels, _lines(own)))
    return found


def _lines(scores: Sequence[Score]) -> list[Line]:
    lines: dict[str, Line] = {}
    for score in scores:
        line = lines.setdefault(score.measure, Line(score.measure, meaning(score), score.goal, {}))
        line.cells[score.label] = score
    return list(lines.values())


def meaning(score: Score) -> str:
    """Say what a number means."""
    return WORDS.get(score.measure) or (_MOVED if " moved, " in score.measure else _SHARE)


def shown(number: float) -> str:
    """Set a number with as many digits as say something.

    Examples
    --------
    >>> shown(0.01234), shown(0.5), shown(12.34), shown(float("nan"))
    ('0.012', '0.50', '12.3', '–')
    """
    if np.isnan(number):
        return "–"
    digits = 3 if abs(number) < 0.1 else 2 if abs(number) < 10 else 1
    return f"{round(number, digits) + 0.0:.{digits}f}"


def warnings(evaluation: Evaluation) -> list[str]:
    """Say what speaks against letting these beats out of the house: what is surely worse than of fresh real beats."""
    found = []
    by_name = {score.measure: score for score in evaluation.measured if score.label == "all"}
    if (score := by_name.get("membership of a patient, area")) and score.value.low > 0.5:
        found.append(
            "Whoever holds a patient's beats can tell better than by guessing whether the model learnt from that patient "
            f"(area {shown(score.value.value)}, 95 % interval {shown(score.value.low)} to {shown(score.value.high)}; 0.5 is guessing)."
        )
    for what in ("sex", "age"):
        if (score := by_name.get(f"{what} of a patient, excess")) and score.value.low > 0:
            found.append(
                f"Near copies would tell the {what} of patients learnt from, were it known whom they copy, and not as well that of others."
            )
    if (score := by_name.get("recognition of a patient, area")) and score.value.low > 0.5:
        found.append(
            "A classifier of patients takes these beats for those of patients learnt from more than for those of others "
            f"(area {shown(score.value.value)}, 95 % interval {shown(score.value.low)} to {shown(score.value.high)}; 0.5 is guessing)."
        )
    near = [score for score in evaluation.measured if score.measure == "near copies" and score.value.low > max(score.real, NEAR)]
    if near:
        listed = ", ".join(f"{score.label} ({100 * score.value.value:.1f} against {100 * score.real:.1f} of 100)" for score in near)
        found.append(f"More beats than of fresh real ones are near copies of training beats: {listed}.")
    return found
