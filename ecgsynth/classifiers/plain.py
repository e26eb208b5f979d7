"""Two classifiers that are nothing like a network, so that no result hangs on one: boosted trees, and nearest neighbours."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.classifiers.base import Classifier
from ecgsynth.classifiers.features import BeatFeatures, Features

_RR_WEIGHT = 5.0  # mV for each unit of the logarithm of RR


class PlainClassifier(Classifier):
    """A classifier of scikit-learn's that sees a beat in few numbers, those of `BeatFeatures`.

    Parameters are those of `Classifier`.
    """

    def fit_steps(self, beats: Beats, *, by: str = "class") -> Iterator[float]:
        """Learn to tell AAMI classes apart, or symbols; yields the share done.

        Raises
        ------
        EcgsynthError
            If there are fewer than two labels, or no RR intervals for a classifier that may see them.
        """
        self._learn_labels(beats, by)
        self._features = BeatFeatures(rhythm=self.features != "shape").fit(beats)
        self._model = self._made().fit(self._scaled(self._features.transform(beats)), beats.labels(by))
        yield 1.0

    def predict(self, beats: Beats) -> NDArray[np.str_]:
        """Give the label of each beat: (n_beats,)."""
        return np.asarray(self._model.predict(self._scaled(self._features.transform(beats))))

    def _made(self) -> Any:
        raise NotImplementedError

    def _scaled(self, features: Features) -> Features:
        return features


class Trees(PlainClassifier):
    """Gradient-boosted trees, a hundred rounds of them; what a leaf says of few beats is drawn to 0, or rare classes run wild."""

    def _made(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=100, l2_regularization=1.0, early_stopping=False, random_state=self.seed)


class Neighbors(PlainClassifier):
    """The label of most of the three nearest beats: by components in mV, and 5 mV for a unit of the logarithm of RR."""

    def _made(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(3, algorithm="brute")

    def _scaled(self, features: Features) -> Features:
        scale = np.ones(features.shape[1], dtype=np.float32)
        scale[len(scale) - self._features.n_told :] = _RR_WEIGHT
        return features * scale
