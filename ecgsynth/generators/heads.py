"""What the file of a model says of it, held against what a model can be."""

from collections.abc import Mapping
from typing import Any

from ecgsynth.generators.history import TrainingStep
from ecgsynth.labels import LABELS
from ecgsynth.untrusted import conform, is_count, is_rate, is_whole, of_beats

_SHAPE = {
    "n_leads": is_whole,
    "n_samples": is_whole,
    "n_rhythm?": lambda number: number in (2, 3),
    "fs": is_rate,
    "r_sample": is_count,
    "rhythm": bool,
    "by": set(LABELS),
    "cells": [lambda cell: len(cell) == 3 and conform(cell[:2], [str]) and is_whole(cell[2])],
    "data_sha256": str,
    "trained_on?": str,
    "privacy?": {str: (str, float, None)},
}
_NUMBER = (float, None)
_STEP = {"step": is_count, "share": float, "generator_loss": float, "critic_loss?": _NUMBER, "score_gap?": _NUMBER}
_STEP |= {"validation_score?": _NUMBER, "detection?": _NUMBER, "best?": bool, "drawn?": is_count}
_MOST_CELLS = 1000
_MOST_TRIED = 1 << 22  # samples of one beat of each cell, which is tried when a model is loaded


def read_head(head: Mapping[str, Any]) -> tuple[dict[str, Any], list[TrainingStep]]:
    """Read the layout of beats and cells, and the course of training.

    Raises
    ------
    ValueError
        If something of it cannot be.
    """
    shape: dict[str, Any] = conform(head["shape"], _SHAPE, "its shape")
    of_beats(shape | {"source": "", "info": {}}, (1, shape["n_leads"], shape["n_samples"]))
    labels = {label for label, _, _ in shape["cells"]}
    if not 0 < len(shape["cells"]) <= _MOST_CELLS or not labels <= set(LABELS[shape["by"]]):
        raise ValueError("its labels cannot be")
    if len(shape["cells"]) * shape["n_leads"] * shape["n_samples"] > _MOST_TRIED:
        raise ValueError("its beats are too long for so many labels and leads")
    return shape, read_history(head["history"])


def read_history(told: Any) -> list[TrainingStep]:
    """Read the course of training.

    Raises
    ------
    ValueError
        If it cannot be.
    """
    return [TrainingStep(**step) for step in conform(told, [_STEP], "its history")]
