"""Attacks on the patients behind synthetic beats, each held against the same attack on patients that were not learnt from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.classifiers import BeatFeatures
from ecgsynth.metrics.bootstrap import Interval, Intervals, delete_half
from ecgsynth.metrics.privacy import attribute_votes, excess, membership_auc, membership_scores, near_copies, recognised

Strings = NDArray[np.str_]
Values = NDArray[np.float64]

RELEASED = 20_000
"""Synthetic beats an attacker looks at, so that the numbers of all generators mean the same."""

_HELD = 100  # beats of each patient that an attacker holds
_LEARNT = 400  # beats of each training patient by which those behind synthetic beats are known
_FEWEST_OF_A_VALUE = 2  # patients who have an attribute's value: of one alone nothing can be said
_FEWEST_FRESH = 100  # beats of a class that set what is near
_FEWEST = {"train": 2, "val": 4, "test": 2}  # patients


class Attackers(NamedTuple):
    """What attackers hold.

    Parameters
    ----------
    train : Beats
        Of the patients learnt from.
    members, others : Beats
        Some of each patient learnt from, and of each that was not: whom an attacker asks about.
    reference : Beats
        Of patients that the attacker knows not to be in question.
    strangers : Beats
        Of yet others, in the place of synthetic beats: the yardstick.
    """

    train: Beats
    members: Beats
    others: Beats
    reference: Beats
    strangers: Beats

    def attack(self, released: Beats, seed: int) -> Intervals:
        """Attack beats that were released.

        Returns
        -------
        dict of str to Interval
            ``"membership of a patient, area"``, 0.5 for guessing; ``"sex of a patient, excess"`` and
            ``"age of a patient, excess"``, where known, 0 if patients learnt from are not found out more than others;
            ``"beats of a recognised patient"``, 0.05 for beats of strangers.
        """
        released = released.take(np.random.default_rng(seed).permutation(len(released))[:RELEASED])
        return {
            "membership of a patient, area": membership_auc(*([scores] for scores in self.membership(released)), seed=seed),
            **{f"{name} of a patient, excess": found for name, of in ATTRIBUTES.items() if (found := self._inferred(released, of, seed))},
            "beats of a recognised patient": self._recognised(released, seed),
        }

    def membership(self, released: Beats) -> tuple[Values, Values]:
        """Score each patient learnt from, and each other: the more, the likelier they were learnt from, an attacker would say."""
        known = {"synthetic": _waveforms(released), "reference": _waveforms(self.reference)}
        scores = [membership_scores(beats=_waveforms(side), records=side.patients, **known) for side in (self.members, self.others)]
        members, others = (np.array(list(each.values())) for each in scores)
        return members, others

    def _inferred(self, released: Beats, attribute: "Callable[[Beats, Beats], Strings]", seed: int) -> Interval | None:
        behind = attribute(self.train, self.train)
        train, behind = _waveforms(self.train)[behind != ""], behind[behind != ""]
        if len(np.unique(behind)) < 2:
            return None
        ours = _waveforms(released)
        carried = np.where(self._copied(released), behind[_nearest(ours, train)], "")
        votes = []
        for side in (self.members, self.others):
            truth = attribute(side, self.train)
            known = truth != ""
            asked = {"beats": _waveforms(side)[known], "patients": side.patients[known], "truth": truth[known]}
            votes.append(attribute_votes(**asked, synthetic=ours, carried=carried))
            if len(votes[-1]) < 2 or min(map(len, votes[-1].values())) < _FEWEST_OF_A_VALUE:
                return None
        return excess(*votes, seed=seed)

    def _copied(self, released: Beats) -> NDArray[np.bool_]:
        """Say which beats are near copies: nearer to a training beat of their class than fresh ones are, of any class if those are few."""
        near = np.zeros(len(released), dtype=bool)
        for name in set(released.counts()) & set(self.train.counts()):  # of a rare class no training beat may be among those kept
            own, train, fresh = (side.classes == name for side in (released, self.train, self.reference))
            control = self.reference.take(fresh) if fresh.sum() >= _FEWEST_FRESH else self.reference
            ours, learnt, known = map(_waveforms, (released.take(own), self.train.take(train), control))
            near[own] = near_copies(synthetic=ours, train=learnt, control=known)
        return near

    def _recognised(self, released: Beats, seed: int) -> Interval:
        seen = BeatFeatures().fit(self.train)
        train, ours, control = (seen.transform(beats) for beats in (self.train, released, self.reference))
        found = recognised(synthetic=ours, train=train, patients=self.train.patients, control=control, seed=seed)
        return delete_half(lambda side: {"share": float(side.mean())}, found, seed=seed)["share"]


def _older(beats: Beats, train: Beats) -> Strings:
    known = [train.ages[train.patients == name][0] for name in np.unique(train.patients)]
    half = np.nanmedian(known) if np.isfinite(known).any() else np.nan
    return np.where(np.isfinite(beats.ages), np.where(beats.ages > half, "older", "younger"), "")


ATTRIBUTES: dict[str, Callable[[Beats, Beats], Strings]] = {"sex": lambda beats, train: beats.sexes, "age": _older}
"""What an attacker would know of a patient, given beats and what was learnt from: ages are over their median or not."""


def set_up(*, train: Beats, val: Beats, test: Beats, seed: int) -> Attackers | None:
    """Divide real beats among attackers.

    Parameters
    ----------
    train, val, test : Beats
        The sides of a split. Patients of `val` are those that attackers know not to be in question, half of them the
        yardstick; those of `test` are whom the same attacks are tried on in vain.
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
        train=_some_of_each(train, _LEARNT, rng),
        members=_some_of_each(train, _HELD, rng),
        others=_some_of_each(test, _HELD, rng),
        reference=_some_of_each(val.take(known), _LEARNT, rng),
        strangers=_some_of_each(val.take(~known), _LEARNT, rng),
    )


def _some_of_each(beats: Beats, most: int, rng: np.random.Generator) -> Beats:
    own = [np.flatnonzero(beats.patients == name) for name in np.unique(beats.patients)]
    return beats.take(np.concatenate([rng.permutation(index)[:most] for index in own]))


def _waveforms(beats: Beats) -> NDArray[np.float32]:
    return beats.signals.reshape(len(beats), -1)


def _nearest(beats: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors

    return np.asarray(NearestNeighbors(n_neighbors=1, algorithm="brute").fit(among).kneighbors(beats, return_distance=False)[:, 0])
