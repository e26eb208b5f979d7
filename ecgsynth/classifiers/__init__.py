"""Classifiers by which beats are judged."""

from ecgsynth.classifiers.features import FEATURES, BeatFeatures
from ecgsynth.classifiers.network import NEW_PATIENTS, BeatClassifier
from ecgsynth.classifiers.plain import Neighbors, Trees

CLASSIFIERS = {"cnn": BeatClassifier, "trees": Trees, "neighbors": Neighbors}
"""Classifiers by name; the first is the one that every result is given for."""

__all__ = ["CLASSIFIERS", "FEATURES", "NEW_PATIENTS", "BeatClassifier", "BeatFeatures", "Neighbors", "Trees"]
