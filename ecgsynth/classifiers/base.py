"""What all classifiers share: their settings, and the labels they learn."""

import inspect
from typing import Any

from ecgsynth.beats import Beats
from ecgsynth.classifiers.features import FEATURES
from ecgsynth.errors import EcgsynthError


class Classifier:
    """Learns the label of a beat from its waveform in mV, and from its rhythm if it may.

    Parameters
    ----------
    features : str
        ``"shape"`` or ``"shape+rr"``, of `FEATURES`.
    seed : int
        Same beats, seed and machine: same classifier.
    """

    def __init__(self, *, features: str = "shape", seed: int = 0) -> None:
        if features not in FEATURES:
            raise EcgsynthError(f"unknown features {features!r}; known: {', '.join(FEATURES)}")
        self.features = features
        self.seed = seed

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's values but for the seed."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "seed"}

    def _learn_labels(self, beats: Beats, by: str) -> None:
        """Take note of the labels of these beats, of which there must be several."""
        self.classes_ = tuple(beats.counts(by))
        if len(self.classes_) < 2:
            raise EcgsynthError(f"a classifier needs two classes or more; these beats are all {', '.join(self.classes_)}")
