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
        return f"{self.value:z.3f} ({self.low:z.3f} to {self.high:z.3f})"


Intervals = dict[str, Interval]


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


MACRO_F1 = "macro-F1"
"""What `macro_f1` is called."""


def macro_f1(confusion: Confusions) -> NDArray[np.float64]:
    """Give the macro-F1 of confusion matrices: (..., K, K) -> (...).

    It is over the classes annotated in any of them; NaN of one that lacks such a class, as it would be a mean over others.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    annotated, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    f1 = 2 * hits / np.maximum(annotated + predicted, 1)
    known = (annotated > 0).reshape(-1, annotated.shape[-1]).any(axis=0)
    return np.where((annotated[..., known] > 0).all(axis=-1), f1[..., known].sum(axis=-1) / max(known.sum(), 1), np.nan)


Rates = Callable[[Confusions], Mapping[str, NDArray[np.float64]]]
"""Numbers by name of each confusion matrix of a stack: (..., K, K) -> (...)."""


def over_patients(rates: Rates, confusions: Confusions, *, base: Confusions | None = None, draws: int = 2000, seed: int = 0) -> Intervals:
    """Give rates of a classifier, or how much they are above another's, with 95 % intervals over the patients tested on.

    Parameters
    ----------
    rates : callable
        Of a stack of confusion matrices -> numbers by name; NaN where there is none.
    confusions : array of int, shape (n_seeds, n_patients, n_classes, n_classes)
        Confusion matrices.
    base : array of int, of the same shape, optional
        Those of a classifier to compare with; what has the same place among the seeds was trained alike.
    draws : int
        Bootstrap draws.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to Interval
        Mean over seeds, and its interval: the percentiles of draws that take patients and seeds with replacement, which are too near
        where patients are few, moved away by as much as Student's t of as many as have the number asks for. Draws in which a number
        is NaN are left out. The ends are NaN where one patient alone has the number, as that of a class that nobody
        else has: what others would give is not known. `MACRO_F1`, of all classes together, counts as a number of every patient.
        A rate of 0 or 1 in all draws, which scatters nowhere, has the end at which so many patients of whom each is all
        right or all wrong would give it in 2.5 of 100 tries.

    References
    ----------
    Efron B, Tibshirani RJ. An introduction to the bootstrap (1993), doi:10.1201/9780429246593.
    Hesterberg TC. What teachers should know about the bootstrap. Am Stat 69(4):371-386 (2015), doi:10.1080/00031305.2015.1089789: why
    it is too narrow for few, and by how much.
    Clopper CJ, Pearson ES. Biometrika 26(4):404-413 (1934), doi:10.1093/biomet/26.4.404: the end where nothing scatters.
    """
    rng = np.random.default_rng(seed)
    n_seeds, n_patients = confusions.shape[:2]
    patients = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=draws)  # how often each is drawn
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=draws)

    def found(side: Confusions) -> dict[str, tuple[float, NDArray[np.float64]]]:
        whole, drawn = rates(side.sum(axis=1)), rates(np.einsum("dp,spij->dsij", patients, side, optimize=True))
        return {name: (float(whole[name].mean()), (drawn[name] * seeds).sum(axis=1) / n_seeds) for name in whole}

    ours = found(confusions)
    if base is not None:
        ours = {name: (ours[name][0] - value, ours[name][1] - drawn) for name, (value, drawn) in found(base).items()}
    have = {name: int(np.isfinite(each).any(axis=0).sum()) for name, each in rates(confusions).items()}  # patients
    have |= {MACRO_F1: n_patients} if MACRO_F1 in have else {}
    return {name: _of_few(value, drawn, have[name], least=0 if base is None else -1) for name, (value, drawn) in ours.items()}


def _of_few(value: float, drawn: NDArray[np.float64], patients: int, *, least: float) -> Interval:
    """Give the interval of a number between `least` and 1 that so many patients have, from what draws of them gave."""
    from scipy.stats import norm, t

    if patients < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = _percentiles(drawn)
    if low == high == value and value in (0, 1) and least == 0:
        end = 1 - 0.025 ** (1 / patients)
        return Interval(value, value * (1 - end), value + (1 - value) * end)
    times = (patients / (patients - 1)) ** 0.5 * float(t.ppf(0.975, patients - 1) / norm.ppf(0.975))
    low, high = (min(low, value + times * (low - value)), max(high, value + times * (high - value)))
    return Interval(value, *np.clip([low, high], least, 1).tolist())


def over_beats(rates: Rates, confusions: Confusions, *, draws: int = 2000, seed: int = 0) -> Intervals:
    """Give rates of a classifier with 95 % intervals over beats and seeds, as if each beat were of another patient: `over_patients` else.

    Parameters
    ----------
    rates, draws, seed
        As for `over_patients`.
    confusions : array of int, shape (n_seeds, n_classes, n_classes)
        Confusion matrices.

    Returns
    -------
    dict of str to Interval
    """
    rng = np.random.default_rng(seed)
    n_seeds, size = len(confusions), confusions.shape[1:]
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=draws)
    mixed = np.tensordot(seeds, confusions, axes=1).reshape(draws, -1)  # all seeds see the same beats: a draw is no larger than one seed's
    drawn = rng.multinomial(int(confusions[0].sum()), mixed / mixed.sum(axis=1, keepdims=True)).reshape(draws, *size)
    found, whole = rates(drawn), rates(confusions.sum(axis=0))
    return {
        name: Interval(float(value.mean()), *_percentiles(found[name] - whole[name] + value.mean()))
        for name, value in rates(confusions).items()
    }


def _percentiles(drawn: NDArray[np.float64]) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def delete_half(
    statistics: Callable[..., Mapping[str, float]],
    *sides: NDArray[Any],
    patients: Sequence[NDArray[np.str_] | None] = (),
    fewest: int = 2,
    draws: int = 40,
    seed: int = 0,
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
    patients : sequence of (array of str, shape (n,), or None), optional
        For each side, whose they are, so that half of the patients are left out, with all their beats; None leaves out beats.
    fewest : int
        Beats a side: a half with fewer is not asked for a number.
    draws : int
        How often half is left out.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to Interval
        Each statistic of all, and to either side as many standard deviations of those of the halves as Student's t asks for the
        fewest patients, or beats, of a side; NaN where most halves have no such number, or a side is of one patient. A distance
        is above 0 by chance alone, the more the fewer beats there are, and so is its interval: it tells how the number scatters,
        and what fresh real beats reach tells what is 0.

    References
    ----------
    Shao J, Wu CFJ. A general theory for jackknife variance estimation. Ann Stat 17(3):1176-1197 (1989),
    doi:10.1214/aos/1176347263: where half is left out, the variance of the whole is that among the halves.
    """
    from scipy.stats import t

    rng = np.random.default_rng(seed)
    owners = [*patients, *[None] * (len(sides) - len(patients))]
    halves = []
    for _ in range(draws):
        half = [side[_half(len(side), whose, rng)] for side, whose in zip(sides, owners, strict=True)]
        halves.append(statistics(*half) if min(map(len, half)) >= fewest else {})
    units = min(len(side) if whose is None else len(np.unique(whose)) for side, whose in zip(sides, owners, strict=True))
    times = float(t.ppf(0.975, units - 1)) if units > 1 else float("nan")
    found = {}
    for name, value in statistics(*sides).items():
        known = [half[name] for half in halves if np.isfinite(half.get(name, np.nan))]
        reach = times * float(np.std(known, ddof=1)) if len(known) > draws / 2 else float("nan")
        found[name] = Interval(value, value - reach, value + reach)
    return found


def _half(count: int, patients: NDArray[np.str_] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Say which of so many beats stay: half of them, or those of half of the patients; none where there is one patient."""
    if patients is None:
        return rng.permutation(count)[: -(-count // 2)]
    names = rng.permutation(np.unique(patients))
    kept = (len(names) + rng.integers(2)) // 2 if len(names) > 1 else 0  # of an odd number one more or one less
    return np.flatnonzero(np.isin(patients, names[:kept]))
