"""How well predicted classes agree with annotated ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.labels import SYMBOL_TO_CLASS
from ecgsynth.metrics.bootstrap import MACRO_F1, Confusions, confusion_by_patient, macro_f1

Values = NDArray[np.float64]


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
    by_patient : list of such matrices, optional
        One for each patient tested on, in the order of their names; None where patients are not known.
    """

    sensitivity: dict[str, float]
    positive_predictivity: dict[str, float]
    f1: dict[str, float]
    macro_f1: float
    accuracy: float
    confusion: list[list[int]]
    by_patient: list[list[list[int]]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON."""
        return asdict(self)


def score_classes(
    *, annotated: NDArray[np.str_], predicted: NDArray[np.str_], classes: Sequence[str], patients: NDArray[np.str_] | None = None
) -> Scores:
    """Compare predicted with annotated classes.

    Parameters
    ----------
    annotated, predicted : array of str, shape (n,)
        The class of each beat.
    classes : sequence of str
        The classes scored, each of which should be among the annotated.
    patients : array of str, shape (n,), optional
        Whose beat each is, for `Scores.by_patient`.

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
    each = None
    if patients is not None and patients.all():  # "" stands for an unknown one
        each = confusion_by_patient(annotated=annotated, predicted=predicted, patients=patients, classes=labels).tolist()
    return Scores(
        sensitivity=dict(zip(labels, recall.tolist(), strict=True)),
        positive_predictivity=dict(zip(labels, precision.tolist(), strict=True)),
        f1=dict(zip(labels, f1.tolist(), strict=True)),
        macro_f1=float(f1.mean()),
        accuracy=float(np.trace(confusion) / confusion.sum()),
        confusion=confusion.tolist(),
        by_patient=each,
    )


# EC57: what is called so wrongly is no error where the beat is one of these, as it could not be told.
_ECTOPIC = {"SVEB": ("S", "Q"), "VEB": ("V", "FQ")}


def rates(confusions: Confusions, classes: Sequence[str], *, by: str = "class") -> dict[str, Values]:
    """Give all that confusion matrices say, by name.

    Parameters
    ----------
    confusions : array of int, shape (..., n_classes, n_classes)
        Row: annotated class, column: predicted class.
    classes : sequence of str
        What they are of.
    by : str
        ``"class"`` or ``"symbol"``: whether these are AAMI classes or annotation symbols.

    Returns
    -------
    dict of str to array, shape (...)
        ``"macro-F1"``; ``"F1 N"``, ``"Se N"`` and ``"+P N"`` and so on of each class; and the lines by which arrhythmia detectors
        are compared, for which symbols are taken together to AAMI classes: ``"SVEB Se"``, ``"SVEB +P"``, ``"SVEB FPR"``,
        ``"SVEB Acc"`` and the same of ``"VEB"``.
        NaN where no beat of the class is annotated; each in 0 to 1, more is better but for FPR. A class never predicted has +P 0.

    References
    ----------
    ANSI/AAMI EC57:1998; de Chazal P, O'Dwyer M, Reilly RB. IEEE Trans Biomed Eng 51(7):1196-1206 (2004),
    doi:10.1109/TBME.2004.827359: unclassifiable beats called SVEB, and fusion and unclassifiable beats called VEB,
    count as neither right nor wrong.

    Examples
    --------
    >>> found = rates(np.array([[90, 5, 5], [2, 8, 0], [0, 4, 6]]), "NVF")
    >>> float(found["VEB Se"]), round(float(found["VEB +P"]), 3), round(float(found["+P V"]), 3)
    (0.8, 0.615, 0.471)
    """
    names = list(classes)
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    annotated, predicted = confusions.sum(axis=-1), confusions.sum(axis=-2)
    found = {MACRO_F1: macro_f1(confusions)}
    for place, name in enumerate(names):
        hit, real, called = hits[..., place], annotated[..., place], predicted[..., place]
        found[f"F1 {name}"] = _share(2 * hit, real + called, real)
        found[f"Se {name}"] = _share(hit, real, real)
        found[f"+P {name}"] = _share(hit, called, real)
    aami = [SYMBOL_TO_CLASS[name] if by == "symbol" else name for name in names]
    for line, (wanted, excused) in _ECTOPIC.items():
        if wanted not in aami:
            continue
        own = [place for place, name in enumerate(aami) if name == wanted]
        blamed = [place for place, name in enumerate(aami) if name not in (wanted, *excused)]
        called_so = confusions[..., own].sum(axis=-1)  # of each annotated label
        hit, wrong = called_so[..., own].sum(axis=-1), called_so[..., blamed].sum(axis=-1)
        real = annotated[..., own].sum(axis=-1)
        missed, cleared = real - hit, confusions.sum(axis=(-2, -1)) - real - called_so.sum(axis=-1) + hit
        judged = hit + missed + wrong + cleared
        found |= {
            f"{line} Se": _share(hit, real, real),
            f"{line} +P": _share(hit, hit + wrong, real),
            f"{line} FPR": _share(wrong, wrong + cleared, wrong + cleared),
            f"{line} Acc": _share(hit + cleared, judged, judged),
        }
    return found


def _share(part: NDArray[Any], whole: NDArray[Any], known: NDArray[Any]) -> Values:
    """Give a share, 0 of nothing; NaN where nothing is known."""
    return np.where(known > 0, part / np.maximum(whole, 1), np.nan)
