"""A classifier that comes with the package, in whose features beats are compared: the same for everyone."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.classifiers.network import BeatClassifier

FROZEN = "mitdb-1"
"""Its name; other weights would have another. Its card is beside its weights: ``mitdb-1.md``."""

PATH = Path(__file__).with_name(f"{FROZEN}.safetensors")


def frozen_features(beats: Beats) -> NDArray[np.float32] | None:
    """Give what the frozen classifier sees of beats: (n_beats, 64); None of beats that are not cut as its own were.

    It knows beats of one lead, of 256 samples at 360 Hz with the R peak at sample 108, as `extract_beats` cuts them.
    """
    classifier = _frozen()
    return classifier.embed(beats) if classifier.fits(beats) else None


@cache
def _frozen() -> BeatClassifier:
    return BeatClassifier.load(PATH)
