"""How sure a number is: what it would be with other patients or other beats."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Confusions = NDArray[np.int64]


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def confusion_by_patient(
    *, annotated: NDArray[np.str_], predicted: NDArray[np.str_], patients: NDArray[np.str_], classes: Sequence[str]
) -> Confusions:
    """Count predicted against annotated classes for each patient.

    Parameters
    ----------
    annotated, predicted, patients : array of str, shape (n,)
        Of each beat.
    classes : sequence of str
        Rows (annotated) and columns (predicted).

    Returns
    -------
    array of int, shape (n_patients, n_classes, n_classes)
        Patients in sorted order.
    """
    from sklearn.metrics import confusion_matrix

    names = np.unique(patients)
    return np.stack([confusion_matrix(annotated[patients == name], predicted[patients == name], labels=list(classes)) for name in names])


def macro_f1(confusion: Confusions) -> NDArray[np.float64]:
    """Give the macro-F1 of confusion matrices, over the classes annotated: (..., K, K) -> (...)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    annotated, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    f1 = 2 * hits / np.maximum(annotated + predicted, 1)
    there = annotated > 0
    return np.asarray((f1 * there).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))


def gain(*, ours: Confusions, base: Confusions, draws: int = 2000, seed: int = 0) -> Interval:
    """Bootstrap the difference in macro-F1 between two classifiers over the patients they were both tested on.

    Parameters
    ----------
    ours, base : array of int, shape (n_seeds, n_patients, n_classes, n_classes)
        Confusion matrices; what has the same place among the seeds was trained alike and is compared.
    draws : int
        Bootstrap draws.
    seed : int
        Of the draws.

    Returns
    -------
    Interval
        Mean difference over seeds, and its percentile interval: each draw takes patients and seeds with
        replacement. A class that none of the patients drawn has is left out of the macro-F1 of that draw.

    References
    ----------
    Efron B, Tibshirani RJ. An introduction to the bootstrap (1993), doi:10.1201/9780429246593.
    """
    rng = np.random.default_rng(seed)
    n_seeds, n_patients = ours.shape[:2]
    found = np.empty(draws)
    for draw in range(draws):
        seeds, patients = rng.integers(n_seeds, size=n_seeds), rng.integers(n_patients, size=n_patients)
        one, other = (side[seeds][:, patients].sum(axis=1) for side in (ours, base))
        found[draw] = (macro_f1(one) - macro_f1(other)).mean()
    value = float(macro_f1(ours.sum(axis=1)).mean() - macro_f1(base.sum(axis=1)).mean())
    low, high = np.percentile(found, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def delete_half(
    statistics: Callable[..., Mapping[str, float]], *sides: NDArray[Any], draws: int = 20, seed: int = 0
) -> dict[str, Interval]:
    """Give statistics of one or more sets of beats with their 95 % intervals, by leaving out half of each again and again.

    A bootstrap would draw beats twice, and a beat that lies beside itself upsets whatever goes by nearest
    neighbours.

    Parameters
    ----------
    statistics : callable
        Of the sides -> numbers by name.
    sides : array, shape (n, ...)
        Beats, features or values, each side with its own n.
    draws : int
        How often half is left out.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to Interval
        Each statistic of all, and 1.96 standard deviations of those of the halves to either side; NaN where most
        halves have no such number.

    References
    ----------
    Shao J, Wu CFJ. A general theory for jackknife variance estimation. Ann Stat 17(3):1176-1197 (1989),
    doi:10.1214/aos/1176347263: where half is left out, the variance of the whole is that among the halves.
    """
    rng = np.random.default_rng(seed)
    halves = [statistics(*(side[rng.permutation(len(side))[: -(-len(side) // 2)]] for side in sides)) for _ in range(draws)]
    found = {}
    for name, value in statistics(*sides).items():
        known = [half[name] for half in halves if np.isfinite(half[name])]
        reach = 1.96 * float(np.std(known, ddof=1)) if len(known) > draws / 2 else float("nan")
        found[name] = Interval(value, value - reach, value + reach)
    return found
