"""What is measured of synthetic beats beside their use: fidelity, physiology and privacy, each number beside its yardsticks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.attacks import RELEASED, Attackers, set_up
from ecgsynth.beats import Beats
from ecgsynth.cache import Cache, content
from ecgsynth.classifiers.frozen import FROZEN, frozen_features
from ecgsynth.engine import Job
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.requests import class_counts
from ecgsynth.generators.resampling import Memorizer
from ecgsynth.metrics.bootstrap import Interval, Intervals, delete_half
from ecgsynth.metrics.detection import area, suspicions
from ecgsynth.metrics.diversity import Features, manifold, nearest_distances, nearest_places
from ecgsynth.metrics.fidelity import frechet_distance, mmd, spectrum_distance, warped_distances
from ecgsynth.metrics.physiology import MEASURES, measure_waves, shares, wave_distances
from ecgsynth.metrics.privacy import nearer_than_fresh, nearest_errors, singled_out, train_over_control
from ecgsynth.scores import AS_REAL, LESS, MORE, Score

Numbers = Mapping[str, float]

MOST = 1000
"""Beats of a class that are looked at on each side, so that the numbers of all classes and generators mean the same."""

FROZEN_TITLE = f"Fréchet distance, features of {FROZEN}"
"""Left out of beats that are not cut as those of the frozen classifier."""

_ATTACKS_COST = 10.0
_FEWEST = 20  # beats of a class on a side: with fewer nothing is said of it
_COPIES = 5  # draws of copies, whose numbers scatter where beats are few
_COMPONENTS = 16  # of the space in which normal distributions are fitted
_SHARES = ("precision", "recall", "coverage", "found out by trees, area", "near copies", "upright P", "upright T")


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
        known = self.test.patients.all() and self.train.patients.all()
        return self.test.patients if known and not np.isin(self.test.patients, self.train.patients).any() else None

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
    nearer = train_over_control(synthetic=ours, train=train, control=control)
    known = len(np.unique(sides.train.patients)) > 1  # patients: else nobody can be pointed at
    pointing = singled_out(beats=ours, train=train, patients=sides.train.patients) if known else np.full(len(ours), np.nan)
    rms, prd = nearest_errors(beats=ours, train=train)

    def numbers(known: NDArray[np.float64], fresh: NDArray[np.float64]) -> Numbers:
        return {
            "near copies": float(nearer_than_fresh(known[:, 0], fresh).mean()),
            "distance to train over distance to test": float(np.median(known[:, 1])),
            "nearest patient over second nearest": float(np.median(known[:, 2])),
            "RMSE to the nearest training beat, mV": float(np.median(known[:, 3])),
            "PRD to the nearest training beat, %": float(np.median(known[:, 4])),
        }

    return Question(numbers, (np.stack([apart, nearer, pointing, rms, prd], axis=1), fresh), (None, sides.owners))


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


def refuse_other_shapes(*sides: Beats) -> None:
    """Raise unless all are of one shape: leads, length, sampling rate and place of the R peak."""
    if len({(beats.n_leads, beats.n_samples, beats.fs, beats.r_sample) for beats in sides}) > 1:
        raise EcgsynthError("synthetic and real beats differ in leads, length, sampling rate or place of the R peak")


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


def measure(**asked: Any) -> list[Score]:
    """Do all that `measuring` gives to do, with the same parameters, and give all scores."""
    return [score for job in measuring(**asked) for score in job.call()]


def measuring(
    *,
    synthetic: Beats,
    train: Beats,
    val: Beats,
    test: Beats,
    families: Sequence[str] = FAMILY_NAMES,
    seed: int = 0,
    cache: Cache | None = None,
) -> list[Job]:
    """Give what is to be done to measure synthetic beats class by class.

    Parameters
    ----------
    synthetic : Beats
        The beats in question.
    train, val, test : Beats
        The real beats of a split: what the generator learnt from, beats that stand in for synthetic ones as the yardstick
        of what real beats reach, and what is compared with.
    families : sequence of str
        Which of ``"fidelity"``, ``"physiology"`` and ``"privacy"``.
    seed : int
        Of the beats looked at, and of the intervals.
    cache : Cache, optional
        Where numbers are kept.

    Returns
    -------
    list of Job
        Each gives a list of `Score`: of each class, and of ``"all"`` in the proportions of the test side where there are
        several. A class with fewer than 20 beats on a side is left out, and so are attacks on patients where patients stand
        on more than one side.

    Raises
    ------
    EcgsynthError
        If the beats do not fit together, or a family is unknown.
    """
    asked = choose_families(families)
    everyone = (synthetic, train, val, test)
    refuse_other_shapes(*everyone)
    labels = [name for name in synthetic.counts() if min(beats.counts().get(name, 0) for beats in everyone) >= _FEWEST]
    mixture = class_counts({name: test.counts()[name] for name in labels}, total=MOST) if labels else {}
    pools = {name: {name: MOST} for name in labels} | ({"all": mixture} if len(labels) > 1 else {})
    asking: dict[str, Any] = {"synthetic": synthetic, "train": train, "val": val, "test": test, "seed": seed, "kept": cache or Cache()}
    jobs = [
        Job(f"{family.name} of {label}", family.cost, partial(_scores, family, label, most, **asking))
        for (label, most), family in product(pools.items(), asked)
        if label != "all" or family.mixed
    ]
    if "privacy" in families and (attackers := set_up(train=train, val=val, test=test, seed=seed)):
        jobs.append(Job("privacy of patients", _ATTACKS_COST, partial(_attacks, attackers, synthetic, train, seed, cache or Cache())))
    return jobs


def _scores(
    family: Family, label: str, most: Mapping[str, int], *, synthetic: Beats, train: Beats, val: Beats, test: Beats, seed: int, kept: Cache
) -> list[Score]:
    """Measure one family of beats of a class, or of several: `most` says how many of each are looked at."""
    alike = _alike(most, (synthetic, val, train))
    ours, fresh, tested = _some(synthetic, alike, seed), _some(val, alike, seed), _some(test, most, seed)
    sides = Sides(train=train.take(np.isin(train.classes, list(most))), test=tested)
    memorizer = Memorizer().fit(sides.train)
    copies = [memorizer.sample(alike, seed=seed + draw) for draw in range(_COPIES)]
    found, real, *copied = (_found(family, beats, sides, seed, kept, sure=beats is ours) for beats in (ours, fresh, *copies))
    goals = {measure: family.goals.get(measure, AS_REAL) for measure in found}
    return [
        Score(family.name, measure, label, value, goals[measure], real[measure].value, _mean(each[measure].value for each in copied))
        for measure, value in found.items()
    ]


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _attacks(attackers: Attackers, synthetic: Beats, train: Beats, seed: int, kept: Cache) -> list[Score]:
    """Attack the patients behind synthetic beats, behind copies, and strangers."""
    copies = Memorizer().fit(train).sample(class_counts(train, total=RELEASED), seed=seed)
    found, real, copied = (_attacked(beats, attackers, seed, kept) for beats in (synthetic, attackers.strangers, copies))
    return [Score("privacy", name, "all", value, AS_REAL, real[name].value, copied[name].value) for name, value in found.items()]


def _found(family: Family, beats: Beats, sides: Sides, seed: int, kept: Cache, *, sure: bool) -> Intervals:
    """Find a family's numbers for beats, with intervals if they are to be `sure`; what is kept is not found again."""

    def find() -> dict[str, list[float]]:
        question = family.ask(beats, sides)
        if sure:
            found = delete_half(question.statistics, *question.of, patients=question.whose, fewest=_FEWEST // 2, seed=seed)
            return {name: list(_possible(name, value)) for name, value in found.items()}
        return {name: [value, np.nan, np.nan] for name, value in question.statistics(*question.of).items()}

    key = {"family": family.name, "beats": content(beats), "sides": sides.contents, "seed": seed, "sure": sure}
    return {name: Interval(*value) for name, value in kept.of(key, find).items()}


def _attacked(beats: Beats, attackers: Attackers, seed: int, kept: Cache) -> Intervals:
    key = {"attackers": [content(side) for side in attackers], "beats": content(beats), "seed": seed}
    found = kept.of(key, lambda: {name: list(value) for name, value in attackers.attack(beats, seed).items()})
    return {name: Interval(*value) for name, value in found.items()}


def _some(beats: Beats, most: Mapping[str, int], seed: int) -> Beats:
    """Draw beats of each class, no more than so many."""
    own = {name: np.flatnonzero(beats.classes == name) for name in most}
    drawn = np.concatenate([np.random.default_rng(seed).permutation(own[name])[:count] for name, count in most.items()])
    return beats.take(np.random.default_rng(seed).permutation(drawn))  # in no order, as parts of them are taken


def _alike(most: Mapping[str, int], sides: Sequence[Beats]) -> dict[str, int]:
    """Give how many beats of each class all sides have, in the proportions asked: statistics of fewer beats come out otherwise."""
    share = min(1.0, *(side.counts()[name] / count for side in sides for name, count in most.items() if count))
    return {name: int(share * count) for name, count in most.items()}


def _patients_behind(beats: Beats, train: Beats) -> NDArray[np.str_]:
    """Say whose beats are: their own patients where these are known, else those learnt from whose beats lie nearest."""
    if beats.patients.all():
        return beats.patients
    return np.asarray(train.patients[nearest_places(beats=_waveforms(beats), among=_waveforms(train))])


def _possible(measure: str, value: Interval) -> Interval:
    """Cut an interval where there can be no such number."""
    least = -np.inf if measure == "MMD" else 0.0
    most = 1.0 if measure in _SHARES or measure.endswith("not normal") else np.inf
    return Interval(value.value, *(float(np.clip(end, least, most)) for end in value[1:]))


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
