"""Beats that are nobody's alone: means of beats of several patients."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError

_CHUNK = 4096  # beats for which others are drawn at a time


def means_across(beats: Beats, patients: int, *, by: str = "class", seed: int = 0) -> Beats:
    """Give, in the place of each beat, the mean of it and of one beat each of other patients, all of one label.

    Parameters
    ----------
    beats : Beats
        Of known patients.
    patients : int
        Of how many each is the mean; 1 gives the beats themselves.
    by : str
        ``"class"`` or ``"symbol"``: what is to be the same of all.
    seed : int
        Of who is taken.

    Returns
    -------
    Beats
        As many, with the labels, leads and order of `beats`: waveforms are means, mV, and intervals are means of their logarithms,
        s, of those that are known. Records, patients and all else that is of one patient are not known of them.

    Raises
    ------
    EcgsynthError
        If it is not known whose beats these are, or a label has beats of fewer patients.

    Notes
    -----
    The others are of the same lead where so many patients have it, else of any. A patient is taken the oftener the more beats they
    have of the label, by the square root, and no one twice for one mean. Such a mean hides whose shape it has the better the more
    patients it is of, and is no promise: attacks on what was learnt from it say how well.

    References
    ----------
    Domingo-Ferrer J, Mateo-Sanz JM. Practical data-oriented microaggregation for statistical disclosure control. IEEE Trans Knowl
    Data Eng 14(1):189-201 (2002), doi:10.1109/69.979982. Deviations: groups are drawn at random and not of those most alike, each of
    another patient, and anew for every beat.
    """
    if patients < 1:
        raise EcgsynthError(f"means are taken across one patient or more, not {patients}")
    if patients == 1:
        return beats
    if not beats.patients.all():
        raise EcgsynthError("these beats do not say whose they are: means across patients need that")
    labels, rng = beats.labels(by), np.random.default_rng(seed)
    taken = np.empty((patients, len(beats)), dtype=np.int64)
    taken[0] = np.arange(len(beats))
    for label in beats.counts(by):
        own = np.flatnonzero(labels == label)
        if (there := len(np.unique(beats.patients[own]))) < patients:
            raise EcgsynthError(f"{by} {label} has beats of {there} patients, of fewer than the {patients} that means are taken across")
        for lead in np.unique(beats.leads[own]):
            asked = own[beats.leads[own] == lead]
            alike = asked if len(np.unique(beats.patients[asked])) >= patients else own
            taken[1:, asked] = _of_others(beats.patients, asked, alike, patients - 1, rng)
    signals = np.zeros_like(beats.signals)
    for places in taken:
        signals += beats.signals[places] / patients
    columns: dict[str, Any] = dict.fromkeys(beats.columns)  # nobody's
    columns |= {name: getattr(beats, name) for name in ("classes", "leads", *(["symbols"] if by == "symbol" else []))}
    columns |= {name: _mean_interval(getattr(beats, name)[taken]) for name in ("rr_before", "rr_after", "rr_mean")}
    return replace(beats, signals=signals, **columns)


def _of_others(
    patients: NDArray[np.str_], asked: NDArray[np.int64], among: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw, for each beat that is asked for, one beat each of so many other patients: (count, n_asked)."""
    names, whose = np.unique(patients[among], return_inverse=True)
    counts, ordered = np.bincount(whose), among[np.argsort(whose, kind="stable")]
    firsts, own = counts.cumsum() - counts, np.searchsorted(names, patients[asked])
    drawn = []
    for start in range(0, len(asked), _CHUNK):
        part = own[start : start + _CHUNK]
        # The largest of such sums are a draw without replacement: Kool W et al. (2019), doi:10.48550/arXiv.1903.06059.
        keys = np.log(counts) / 2 + rng.gumbel(size=(len(part), len(names)))
        keys[np.arange(len(part)), part] = -np.inf
        who = np.argpartition(-keys, count - 1, axis=1)[:, :count]
        drawn.append(ordered[firsts[who] + (rng.random(who.shape) * counts[who]).astype(np.int64)])
    return np.concatenate(drawn).T


def _mean_interval(each: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the geometric mean of what is known of each: (k, n) -> (n,), NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of means of nothing
        return np.exp(np.nanmean(np.log(each), axis=0))
