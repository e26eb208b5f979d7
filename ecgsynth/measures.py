"""What is measured of synthetic beats beside their use: fidelity, physiology and privacy, each number beside its yardsticks."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ecgsynth.attacks import RELEASED, Attackers, set_up
from ecgsynth.beats import Beats
from ecgsynth.cache import Cache, content
from ecgsynth.engine import Job
from ecgsynth.errors import EcgsynthError
from ecgsynth.families import FAMILY_NAMES, Family, Sides, choose_families
from ecgsynth.generators.requests import class_counts
from ecgsynth.generators.resampling import Memorizer
from ecgsynth.metrics.bootstrap import Interval, Intervals, delete_half
from ecgsynth.scores import AS_REAL, Score

MOST = 1000
"""Beats of a class that are looked at on each side, so that the numbers of all classes and generators mean the same."""

_ATTACKS_COST = 10.0
_FEWEST = 20  # beats of a class on a side: with fewer nothing is said of it
_COPIES = 5  # draws of copies, whose numbers scatter where beats are few
_SHARES = ("precision", "recall", "coverage", "found out by trees, area", "near copies", "upright P", "upright T")


def refuse_other_shapes(*sides: Beats) -> None:
    """Raise unless all are of one shape: leads, length, sampling rate and place of the R peak."""
    if len({beats.window for beats in sides}) > 1:
        raise EcgsynthError("synthetic and real beats differ in leads, length, sampling rate or place of the R peak")


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


def _possible(measure: str, value: Interval) -> Interval:
    """Cut an interval where there can be no such number."""
    least = -np.inf if measure == "MMD" else 0.0
    most = 1.0 if measure in _SHARES or measure.endswith("not normal") else np.inf
    return Interval(value.value, *(float(np.clip(end, least, most)) for end in value[1:]))
