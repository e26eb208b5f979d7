"""Classifiers by which beats are judged."""

from typing import Any

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.classifiers.features import FEATURES, BeatFeatures
from ecgsynth.classifiers.network import NEW_PATIENTS, BeatClassifier
from ecgsynth.classifiers.plain import Neighbors, Trees

CLASSIFIERS = {"cnn": BeatClassifier, "trees": Trees, "neighbors": Neighbors}
"""Classifiers by name; the first is the one that every result is given for."""


def network_for(scheme: str, beats: Beats, **settings: Any) -> BeatClassifier:
    """Set up the network for a split: for new patients, if there are some on its test side and the rhythm of beats is known.

    Parameters
    ----------
    scheme : str
        Of the split.
    beats : Beats
        What it may learn from.
    **settings
        Of `BeatClassifier`, over those of `NEW_PATIENTS` or the defaults; None stands for not given.
    """
    taken = NEW_PATIENTS if scheme != "beats" and np.isfinite(beats.rr_before).any() else {}
    return BeatClassifier(**taken | {name: value for name, value in settings.items() if value is not None})


__all__ = ["CLASSIFIERS", "FEATURES", "NEW_PATIENTS", "BeatClassifier", "BeatFeatures", "Neighbors", "Trees", "network_for"]
