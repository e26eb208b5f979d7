"""The families of measures: fidelity, physiology and privacy, each of numbers that are asked for together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, of_others
from ecgsynth.cache import content
from ecgsynth.classifiers.frozen import FROZEN, frozen_features
from ecgsynth.errors import EcgsynthError
from ecgsynth.metrics.detection import area, suspicions
from ecgsynth.metrics.diversity import Features, distances, manifold, nearest_distances, nearest_places
from ecgsynth.metrics.fidelity import frechet_distance, mmd, spectrum_distance, warped_distances
from ecgsynth.metrics.physiology import MEASURES, measure_waves, shares, wave_distances
from ecgsynth.metrics.privacy import nearer_than_fresh, nearest_errors, singled_out, train_over_control
from ecgsynth.scores import AS_REAL, LESS, MORE

Numbers = Mapping[str, float]

FROZEN_TITLE = f"Fréchet distance, features of {FROZEN}"
"""Left out of beats that are not cut as those of the frozen classifier."""

_COMPONENTS = 16  # of the space in which normal distributions are fitted


@dataclass(frozen=True)
class Sides:
    """Beats of one class: those learnt from, and those compared with."""

    train: Beats
    test: Beats

    @cached_property
    def contents(self) -> list[str]:
        """By what these beats are known again."""
        return [content(self.train), content(self.test)]

    @cached_property
    def owners(self) -> NDArray[np.str_] | None:
        """Whose the test beats are, where all are of patients whom nothing was learnt from; None elsewhere."""
        return self.test.patients if of_others(self.test, than=self.train) else None

    @cached_property
    def test_waves(self) -> NDArray[np.float64]:
        """The waves of the test beats: (n, measures)."""
        return _waves(self.test)

    @cached_property
    def space(self) -> Features:
        """The principal components of the train beats: (d, components)."""
        return _components(_waveforms(self.train))

    @cached_property
    def means(self) -> dict[str, NDArray[np.float32]]:
        """The mean train beat of each class, in the first lead."""
        return {name: _first_lead(self.train)[self.train.classes == name].mean(axis=0) for name in self.train.counts()}

    @cached_property
    def test_seen(self) -> Features:
        """What fidelity sees of the test beats."""
        return self.seen(self.test)

    def seen(self, beats: Beats) -> Features:
        """Give what fidelity sees of beats, beside what trees suspect: their waveforms, distance to the class mean, frozen features."""
        warped = np.empty((len(beats), 1))
        for name, mean in self.means.items():
            own = beats.classes == name
            warped[own, 0] = warped_distances(beats=_first_lead(beats)[own], to=mean, fs=beats.fs) if own.any() else 0
        features = frozen_features(beats)
        return np.hstack([_waveforms(beats), warped, *([] if features is None else [features])]).astype(np.float32)


class Question(NamedTuple):
    """Numbers to be found, and the sets of beats, or of what is known of each beat, that they are statistics of.

    `whose` says, for each set, of which patients its beats are; None where beats were divided, and not patients.
    """

    statistics: Callable[..., Numbers]
    of: tuple[NDArray[Any], ...]
    whose: tuple[NDArray[np.str_] | None, ...]


class Family(NamedTuple):
    """Numbers that are measured together: which way each is better, and how they are found for beats in question.

    `mixed` says whether they can be found of all classes together, `cost` how long it takes against other work.
    """

    name: str
    goals: Mapping[str, str]
    ask: Callable[[Beats, Sides], Question]
    cost: float
    mixed: bool = True


def _fidelity(beats: Beats, sides: Sides) -> Question:
    from scipy.stats import wasserstein_distance

    size = beats.n_leads * beats.n_samples
    parts = [1, size + 1, size + 2]  # what trees suspect, the waveform, how far it is from the class mean, the frozen features

    def numbers(real: Features, ours: Features) -> Numbers:
        (real_suspicion, real, real_warped, real_features), (suspicion, ours, warped, features) = (
            np.split(side, parts, axis=1) for side in (real, ours)
        )
        like = min(len(real), len(ours))  # reaches shrink with more beats
        near = manifold(real=real[:like], synthetic=ours[:like])
        fitted = {FROZEN_TITLE: frechet_distance(real=real_features, synthetic=features)} if features.size else {}
        first = slice(0, beats.n_samples)
        return {
            "MMD": mmd(real=real, synthetic=ours),
            "Fréchet distance, mV²": frechet_distance(real=real @ sides.space, synthetic=ours @ sides.space),
            **fitted,
            "precision": near.precision,
            "recall": near.recall,
            "density": near.density,
            "coverage": near.coverage,
            "spectrum, dB": spectrum_distance(real=real[:, first], synthetic=ours[:, first], fs=beats.fs),
            "warped distance to the class mean, mV": float(wasserstein_distance(*map(_column, (real_warped, warped)))),
            "found out by trees, area": area(real=_column(real_suspicion), synthetic=_column(suspicion)),
        }

    patients = None if sides.owners is None else (sides.owners, _patients_behind(beats, sides.train))
    suspected = suspicions(real=sides.test, synthetic=beats, patients=patients)
    seen = (sides.test_seen, sides.seen(beats))
    both = tuple(np.column_stack([suspicion, side]).astype(np.float32) for suspicion, side in zip(suspected, seen, strict=True))
    return Question(numbers, both, (sides.owners, None))


def _physiology(beats: Beats, sides: Sides) -> Question:
    def numbers(real: NDArray[np.float64], ours: NDArray[np.float64]) -> Numbers:
        one, other = (dict(zip(MEASURES, side.T, strict=True)) for side in (real, ours))
        moved = wave_distances(real=one, synthetic=other)
        return {f"{MEASURES[name].title} moved, {MEASURES[name].unit}": value for name, value in moved.items()} | shares(other)

    return Question(numbers, (sides.test_waves, _waves(beats)), (sides.owners, None))


def _privacy(beats: Beats, sides: Sides) -> Question:
    ours, train, control = (_waveforms(side) for side in (beats, sides.train, sides.test))
    apart, fresh = (nearest_distances(beats=side, among=train) for side in (ours, control))
    known = len(np.unique(sides.train.patients)) > 1  # patients: else nobody can be pointed at
    pointing = singled_out(beats=ours, train=train, patients=sides.train.patients) if known else np.full(len(ours), np.nan)
    rms, prd = nearest_errors(beats=ours, train=train)

    def numbers(known: NDArray[np.float64], control: NDArray[np.float64]) -> Numbers:
        place, apart = known[:, 0].astype(np.int64), known[:, 1]
        fresh, to_control = control[:, 0], control[:, 1:].min(axis=0)[place]
        return {
            "near copies": float(nearer_than_fresh(apart, fresh).mean()),
            "distance to train over distance to test": float(np.median(train_over_control(to_train=apart, to_control=to_control))),
            "nearest patient over second nearest": float(np.median(known[:, 2])),
            "RMSE to the nearest training beat, mV": float(np.median(known[:, 3])),
            "PRD to the nearest training beat, %": float(np.median(known[:, 4])),
        }

    of_ours = np.stack([np.arange(len(ours)), apart, pointing, rms, prd], axis=1)
    return Question(numbers, (of_ours, np.column_stack([fresh, distances(control, ours)])), (None, sides.owners))


FAMILIES = (
    Family(
        "fidelity",
        {
            "MMD": LESS,
            "Fréchet distance, mV²": LESS,
            FROZEN_TITLE: LESS,
            "precision": MORE,
            "recall": AS_REAL,
            "density": AS_REAL,
            "coverage": MORE,
            "spectrum, dB": LESS,
            "warped distance to the class mean, mV": LESS,
            "found out by trees, area": AS_REAL,
        },
        _fidelity,
        cost=3.0,
    ),
    Family(
        "physiology",
        {f"{measure.title} moved, {measure.unit}": LESS for measure in MEASURES.values()},
        _physiology,
        cost=4.0,
        mixed=False,
    ),
    Family(
        "privacy",
        dict.fromkeys(
            (
                "near copies",
                "distance to train over distance to test",
                "nearest patient over second nearest",
                "RMSE to the nearest training beat, mV",
                "PRD to the nearest training beat, %",
            ),
            AS_REAL,
        ),
        _privacy,
        cost=1.5,
    ),
)
"""Each family of measures; what has no goal of its own is to be as in real beats."""

FAMILY_NAMES = tuple(each.name for each in FAMILIES)


def choose_families(names: Sequence[str]) -> list[Family]:
    """Give the families of these names.

    Raises
    ------
    EcgsynthError
        If one is unknown.
    """
    if strange := sorted(set(names) - set(FAMILY_NAMES)):
        raise EcgsynthError(f"unknown family {', '.join(strange)}; known: {', '.join(FAMILY_NAMES)}")
    return [family for family in FAMILIES if family.name in names]


def _patients_behind(beats: Beats, train: Beats) -> NDArray[np.str_]:
    """Say whose beats are: their own patients where these are known, else those learnt from whose beats lie nearest."""
    if beats.patients.all():
        return beats.patients
    return np.asarray(train.patients[nearest_places(beats=_waveforms(beats), among=_waveforms(train))])


def _waveforms(beats: Beats) -> Features:
    return beats.signals.reshape(len(beats), -1)


def _components(waveforms: Features) -> Features:
    """Give the first principal components of these waveforms: (n, d) -> (d, components)."""
    from sklearn.decomposition import PCA

    pca = PCA(min(_COMPONENTS, *waveforms.shape), svd_solver="covariance_eigh").fit(waveforms)
    return np.asarray(pca.components_.T, dtype=np.float32)


def _waves(beats: Beats) -> NDArray[np.float64]:
    return np.stack(list(measure_waves(beats).values()), axis=1)


def _column(values: Features) -> NDArray[np.float64]:
    return values[:, 0].astype(np.float64)


def _first_lead(beats: Beats) -> Features:
    return beats.signals if beats.n_leads == 1 else beats.signals[:, 0]
