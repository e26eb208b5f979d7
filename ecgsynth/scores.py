"""A number that is said of synthetic beats, beside its yardsticks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecgsynth.metrics.bootstrap import Interval

_NAME, _BETTER, _CELL = 44, 8, 25  # characters of the columns of the table

LESS, MORE, AS_REAL = "less is better", "more is better", "the nearer to real beats the better"
BETTER = {LESS: "less", MORE: "more", AS_REAL: "as real"}
"""What a table calls each goal where there is no room for it."""


class Score(NamedTuple):
    """One number.

    Parameters
    ----------
    family : str
        ``"utility"``, ``"fidelity"``, ``"physiology"`` or ``"privacy"``.
    measure : str
        What is measured, with its unit if it has one.
    label : str
        The class of the beats.
    value : Interval
        Of the synthetic beats.
    goal : str
        Which way is better.
    real : float
        The same of fresh real beats in their place.
    memorizer : float
        The same of copies of training beats in their place.
    """

    family: str
    measure: str
    label: str
    value: Interval
    goal: str
    real: float
    memorizer: float

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON, with None for what is not a number."""
        numbers = {"value": list(self.value), "real": self.real, "memorizer": self.memorizer}
        plain = json.loads(json.dumps(numbers), parse_constant=lambda _: None)
        return self._asdict() | plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Score":
        """Take back what `to_dict` gave."""
        numbers = {"value": Interval(*map(_number, data["value"])), **{name: _number(data[name]) for name in ("real", "memorizer")}}
        return cls(**dict(data) | numbers)


def _number(plain: float | None) -> float:
    return float("nan") if plain is None else float(plain)


def table(scores: Sequence[Score]) -> str:
    """Set scores in a table for people: a line a measure, which way is better, each label with fresh real beats and copies."""
    labels = list(dict.fromkeys(score.label for score in scores))
    lines = []
    for family in dict.fromkeys(score.family for score in scores):
        own = [score for score in scores if score.family == family]
        heads = f"{family + ': synthetic | fresh real | copies':<{_NAME}}{'better':<{_BETTER}}"
        lines += ["", heads + "".join(f"{label:>{_CELL}}" for label in labels)]
        for measure in dict.fromkeys(score.measure for score in own):
            by_label = {score.label: score for score in own if score.measure == measure}
            cells = [_cell(by_label[label]) if label in by_label else "" for label in labels]
            better = BETTER[next(iter(by_label.values())).goal]
            lines.append(f"{measure:<{_NAME}}{better:<{_BETTER}}" + "".join(f"{cell:>{_CELL}}" for cell in cells))
    return "\n".join(lines[1:])


def _cell(score: Score) -> str:
    return " | ".join(map(_short, (score.value.value, score.real, score.memorizer)))


def _short(number: float) -> str:
    if np.isnan(number):
        return "-"
    digits = 3 if abs(number) < 0.1 else 2 if abs(number) < 10 else 1
    return f"{round(number, digits) + 0.0:.{digits}f}"  # which makes -0 a 0
