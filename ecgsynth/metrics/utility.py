"""How well predicted classes agree with annotated ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Agreement of predicted with annotated classes; all but `confusion` lie in 0 to 1, more is better.

    Parameters
    ----------
    sensitivity, positive_predictivity, f1 : dict of str to float
        For each class. A class never predicted has positive predictivity 0.
    macro_f1 : float
        The plain mean of `f1` over the classes.
    accuracy : float
        The share of beats that are right: high on ECG for a classifier that knows only N.
    confusion : list of list of int
        Row: annotated class, column: predicted class.
    """

    sensitivity: dict[str, float]
    positive_predictivity: dict[str, float]
    f1: dict[str, float]
    macro_f1: float
    accuracy: float
    confusion: list[list[int]]

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON."""
        return asdict(self)


def score_classes(*, annotated: NDArray[np.str_], predicted: NDArray[np.str_], classes: Sequence[str]) -> Scores:
    """Compare predicted with annotated classes.

    Parameters
    ----------
    annotated, predicted : array of str, shape (n,)
        The class of each beat.
    classes : sequence of str
        The classes scored, each of which should be among the annotated.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If there is no beat, or one is of no class in `classes`.

    References
    ----------
    ANSI/AAMI EC57:1998: sensitivity TP / (TP + FN), positive predictivity TP / (TP + FP).

    Examples
    --------
    >>> scores = score_classes(annotated=np.array(list("NNVV")), predicted=np.array(list("NVVV")), classes="NV")
    >>> scores.confusion, scores.sensitivity["N"], round(scores.positive_predictivity["V"], 3)
    ([[1, 1], [0, 2]], 0.5, 0.667)
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    strange = sorted((set(annotated.tolist()) | set(predicted.tolist())) - set(classes))
    if strange or not len(annotated):
        raise ValueError(f"beats of {', '.join(strange) or 'no class'} cannot be scored over {', '.join(classes)}")
    labels = list(classes)
    precision, recall, f1, _ = precision_recall_fscore_support(annotated, predicted, labels=labels, zero_division=0)
    confusion = confusion_matrix(annotated, predicted, labels=labels)
    return Scores(
        sensitivity=dict(zip(labels, recall.tolist(), strict=True)),
        positive_predictivity=dict(zip(labels, precision.tolist(), strict=True)),
        f1=dict(zip(labels, f1.tolist(), strict=True)),
        macro_f1=float(f1.mean()),
        accuracy=float(np.trace(confusion) / confusion.sum()),
        confusion=confusion.tolist(),
    )
