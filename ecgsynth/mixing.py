"""Beats that are nobody's alone: means of beats of several patients."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, concatenate
from ecgsynth.errors import EcgsynthError

_CHUNK = 4096  # beats for which others are drawn at a time, or fewer:
_MOST_KEYS = 2**24


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
    for label, there in _patients_of(beats, beats.patients, by).items():
        if there < patients:
            raise EcgsynthError(
                f"{by} {label} has beats of {there} patients, of fewer than the {patients} that means are taken across: "
                f"leave them out (--at-least {beats.counts(by)[label] + 1}), or take means across fewer"
            )
    return _means(beats, np.arange(len(beats)), beats.patients, patients, by, np.random.default_rng(seed))


def with_means(beats: Beats, patients: int, *, power: float = 0.25, by: str = "class", seed: int = 0) -> Beats:
    """Add means across patients to beats, so that rare labels are less rare.

    Parameters
    ----------
    beats : Beats
        One of whom it is not known whose it is counts as another patient's.
    patients : int
        Of how many each is the mean, as `means_across` says. Labels of fewer patients stay as rare as they are.
    power : float
        A label comes to have as many beats as the commonest one, times its share of these to this power, 0 to 1: with 0.25 one of a
        hundredth as many comes to a third.
    by : str
        ``"class"`` or ``"symbol"``: what is to be the same of all.
    seed : int
        Of what is taken.

    Returns
    -------
    Beats
        Those given, and after them the means.

    Raises
    ------
    EcgsynthError
        If there can be no such means, or no such number of them.
    """
    if patients < 1 or not 0 <= power <= 1:
        raise EcgsynthError(f"means are of one patient or more, to a power of 0 to 1, not of {patients} to {power}")
    rng, whose = np.random.default_rng(seed), _whose(beats)
    counts, labels = beats.counts(by), beats.labels(by)
    most = max(counts.values())
    asked = [np.empty(0, dtype=np.int64)]  # each beat of a label as often as another
    for label, there in _patients_of(beats, whose, by).items():
        if there >= patients:
            more = round(most * (counts[label] / most) ** power) - counts[label]
            asked.append(np.resize(rng.permutation(np.flatnonzero(labels == label)), more))
    return concatenate([beats, _means(beats, np.concatenate(asked), whose, patients, by, rng)])


def _whose(beats: Beats) -> NDArray[np.str_]:
    """Name the patient of each beat: those of nobody known, one each."""
    return np.where(beats.patients == "", np.char.add("?", np.arange(len(beats)).astype(np.str_)), beats.patients)


def _patients_of(beats: Beats, whose: NDArray[np.str_], by: str) -> dict[str, int]:
    """Count of how many patients there are beats of each label."""
    return {label: len(np.unique(whose[beats.labels(by) == label])) for label in beats.counts(by)}


def _means(beats: Beats, asked: NDArray[np.int64], whose: NDArray[np.str_], patients: int, by: str, rng: np.random.Generator) -> Beats:
    """Give, in the place of each beat that is asked for, its mean with beats of others."""
    labels = beats.labels(by)
    taken = np.empty((patients, len(asked)), dtype=np.int64)
    taken[0] = asked
    for label in beats.counts(by):
        own = np.flatnonzero(labels == label)
        for lead in np.unique(beats.leads[own]):
            places = np.flatnonzero((labels[asked] == label) & (beats.leads[asked] == lead))
            if not len(places):
                continue
            alike = own[beats.leads[own] == lead]
            if len(np.unique(whose[alike])) < patients:
                alike = own
            taken[1:, places] = _of_others(whose, asked[places], alike, patients - 1, rng)
    made = beats.take(asked)
    signals = np.zeros_like(made.signals)
    for index in taken:
        signals += beats.signals[index] / patients
    columns: dict[str, Any] = dict.fromkeys(beats.columns)  # nobody's
    columns |= {name: getattr(made, name) for name in ("classes", "leads", *(["symbols"] if by == "symbol" else []))}
    columns |= {name: _mean_interval(getattr(beats, name)[taken]) for name in ("rr_before", "rr_after", "rr_mean")}
    return replace(made, signals=signals, **columns)


def _of_others(
    patients: NDArray[np.str_], asked: NDArray[np.int64], among: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw, for each beat that is asked for, one beat each of so many other patients: (count, n_asked)."""
    names, whose = np.unique(patients[among], return_inverse=True)
    counts, ordered = np.bincount(whose), among[np.argsort(whose, kind="stable")]
    firsts, own = counts.cumsum() - counts, np.searchsorted(names, patients[asked])
    drawn, chunk = [], min(_CHUNK, -(-_MOST_KEYS // len(names)))
    for start in range(0, len(asked), chunk):
        part = own[start : start + chunk]
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
