"""Attacks on the patients behind synthetic beats, each held against the same attack on patients that were not learnt from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, concatenate
from ecgsynth.classifiers import BeatFeatures
from ecgsynth.metrics.bootstrap import Interval, Intervals
from ecgsynth.metrics.diversity import nearest_places
from ecgsynth.metrics.privacy import attribute_votes, excess, likenesses, membership_auc, membership_scores, near_copies

Strings = NDArray[np.str_]
Places = NDArray[np.int64]
Scores = dict[str, float]
"""Of patients, by their names."""

RELEASED = 20_000
"""Synthetic beats an attacker looks at, so that the numbers of all generators mean the same."""

_HELD = 200  # beats of each patient in question that an attacker holds
_KNOWN = 400  # beats of each patient that is not in question
_MOST = 100  # patients on each side: of more an interval is hardly narrower, and to tell all apart takes memory for each
_FEWEST_OF_A_VALUE = 3  # patients who have an attribute's value: of fewer nothing can be said
_FEWEST_FRESH = 100  # beats of a class that set what is near
_FEWEST = {"train": 2, "val": 4, "test": 2}  # patients


class Attackers(NamedTuple):
    """What attackers hold.

    They do not know who of the patients in question was learnt from: each attack does the same with all of them, so that it
    comes to what is said to be guessing whatever the beats are like, if these tell nothing of who was.

    Parameters
    ----------
    members, others : Beats
        Some of each patient learnt from, and of each that was not: those in question.
    reference : Beats
        Of patients that the attacker knows not to be in question.
    strangers : Beats
        Of yet others, in the place of synthetic beats: the yardstick.
    """

    members: Beats
    others: Beats
    reference: Beats
    strangers: Beats

    def attack(self, released: Beats, seed: int) -> Intervals:
        """Attack beats that were released.

        Returns
        -------
        dict of str to Interval
            ``"membership of a patient, area"`` and ``"recognition of a patient, area"``, 0.5 for guessing; ``"sex of a patient,
            excess"`` and ``"age of a patient, excess"``, where known, 0 if patients learnt from are not found out more than others.
        """
        released = released.take(np.random.default_rng(seed).permutation(len(released))[:RELEASED])
        asked = concatenate([self.members, self.others])
        behind = self._behind(released, asked)
        inferred = {name: self._inferred(released, asked, behind, of(asked)) for name, of in ATTRIBUTES.items()}
        return {
            "membership of a patient, area": membership_auc(*([scores] for scores in self.membership(released)), seed=seed),
            "recognition of a patient, area": membership_auc(*([scores] for scores in self._recognition(released, asked, seed)), seed=seed),
            **{f"{name} of a patient, excess": found for name, found in inferred.items() if found},
        }

    def membership(self, released: Beats) -> tuple[Scores, Scores]:
        """Score each patient learnt from, and each other: the more, the likelier they were learnt from, an attacker would say."""
        known = {"synthetic": _waveforms(released), "reference": _waveforms(self.reference)}
        members, others = (
            membership_scores(beats=_waveforms(side), records=side.patients, **known) for side in (self.members, self.others)
        )
        return members, others

    def membership_by_critic(self, judge: Callable[[Beats], NDArray[np.float32]]) -> tuple[Scores, Scores]:
        """Score each patient as `membership` does, by how much more real the critic of a GAN finds their beats.

        More, that is, than those of the same class of patients whom the attacker knows, in the mean over the patient's beats.

        Parameters
        ----------
        judge : callable
            Beats -> scores (N,), as `ecgsynth.generators.gan.Gan.judge`.
        """
        usual = judge(self.reference)
        means = {name: float(usual[self.reference.classes == name].mean()) for name in self.reference.counts()}

        def scores(side: Beats) -> Scores:
            known = side.take(np.isin(side.classes, list(means)))
            above = judge(known) - np.array([means[name] for name in known.classes])
            return {name: float(above[known.patients == name].mean()) for name in np.unique(known.patients)}

        return scores(self.members), scores(self.others)

    def _recognition(self, released: Beats, asked: Beats, seed: int) -> tuple[Scores, Scores]:
        """Score each patient in question by how much a classifier that knows them all takes the beats for theirs."""
        seen = BeatFeatures().fit(asked)
        found = likenesses(synthetic=seen.transform(released), known=seen.transform(asked), patients=asked.patients, seed=seed)
        members, others = ({name: found[name] for name in np.unique(side.patients)} for side in (self.members, self.others))
        return members, others

    def _inferred(self, released: Beats, asked: Beats, behind: Places, truth: Strings) -> Interval | None:
        """Guess an attribute of all patients in question, where it is known, from near copies of whichever of them."""
        carried = np.where(behind >= 0, truth[behind], "")
        votes = []
        for side in (self.members, self.others):
            own = np.isin(asked.patients, side.patients) & (truth != "")
            beats = {"beats": _waveforms(asked)[own], "patients": asked.patients[own], "truth": truth[own]}
            votes.append(attribute_votes(**beats, synthetic=_waveforms(released), carried=carried) if own.any() else {})
            if len(votes[-1]) < 2 or min(map(len, votes[-1].values())) < _FEWEST_OF_A_VALUE:
                return None
        return excess(*votes)

    def _behind(self, released: Beats, asked: Beats) -> Places:
        """Say which beat of those in question is nearest to each beat released, and -1 where that is no near copy of it."""
        return np.where(self._copied(released, asked), nearest_places(beats=_waveforms(released), among=_waveforms(asked)), -1)

    def _copied(self, released: Beats, asked: Beats) -> NDArray[np.bool_]:
        """Say which beats are near copies: nearer to a beat of their class than fresh ones are, of any class if those are few."""
        near = np.zeros(len(released), dtype=bool)
        for name in set(released.counts()) & set(asked.counts()):  # of a rare class none may be among those held
            own, held, fresh = (side.classes == name for side in (released, asked, self.reference))
            control = self.reference.take(fresh) if fresh.sum() >= _FEWEST_FRESH else self.reference
            ours, theirs, known = map(_waveforms, (released.take(own), asked.take(held), control))
            near[own] = near_copies(synthetic=ours, train=theirs, control=known)
        return near


def _older(beats: Beats) -> Strings:
    known = [beats.ages[beats.patients == name][0] for name in np.unique(beats.patients)]
    half = np.nanmedian(known) if np.isfinite(known).any() else np.nan
    return np.where(np.isfinite(beats.ages), np.where(beats.ages > half, "older", "younger"), "")


ATTRIBUTES: dict[str, Callable[[Beats], Strings]] = {"sex": lambda beats: beats.sexes, "age": _older}
"""What an attacker would know of a patient, given beats of all in question: ages are over their median or not."""


def set_up(*, train: Beats, val: Beats, test: Beats, seed: int) -> Attackers | None:
    """Divide real beats among attackers.

    Parameters
    ----------
    train, val, test : Beats
        The sides of a split. Patients of `val` are those that attackers know not to be in question, half of them the
        yardstick; those of `test` are whom the same attacks are tried on in vain. Of many patients 100 a side are drawn.
    seed : int
        Of who is taken.

    Returns
    -------
    Attackers or None
        None where patients are not known, stand on two sides, or are too few: nothing can be said then.
    """
    names = {side: np.unique(beats.patients) for side, beats in (("train", train), ("val", val), ("test", test))}
    everyone = np.concatenate(list(names.values()))
    if "" in everyone or len(np.unique(everyone)) < len(everyone) or any(len(names[side]) < fewest for side, fewest in _FEWEST.items()):
        return None
    rng = np.random.default_rng(seed)
    kept = rng.permutation(names["val"])[: -(-len(names["val"]) // 2)]
    known = np.isin(val.patients, kept)
    return Attackers(
        members=_some_of_each(train, _HELD, rng),
        others=_some_of_each(test, _HELD, rng),
        reference=_some_of_each(val.take(known), _KNOWN, rng),
        strangers=_some_of_each(val.take(~known), _KNOWN, rng),
    )


def _some_of_each(beats: Beats, most: int, rng: np.random.Generator) -> Beats:
    names = np.unique(beats.patients)
    if len(names) > _MOST:
        names = np.sort(rng.permutation(names)[:_MOST])
    own = [np.flatnonzero(beats.patients == name) for name in names]
    return beats.take(np.concatenate([rng.permutation(index)[:most] for index in own]))


def _waveforms(beats: Beats) -> NDArray[np.float32]:
    return beats.signals.reshape(len(beats), -1)
