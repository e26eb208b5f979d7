"""Whether patients can be found in synthetic beats: each attack on those learnt from, and the same attack on others.

Every function compares what synthetic beats tell of the patients that a generator learnt from with what they tell of
patients that it never saw, the control. A generator that remembers nobody scores alike on both.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.metrics.diversity import Features, nearest_distances

Strings = NDArray[np.str_]
Values = NDArray[np.float64]

# Shapes: n beats, d features, R records.

NEAR = 0.01
"""A beat counts as a near copy if it lies nearer to a training beat than all but this share of fresh real beats do."""

_TREES = 200  # that recognise patients
_TINY = 1e-9  # mV: equal beats are this far apart, so that their logarithm is a number
_EQUAL = 1e-5  # mV: as far apart the search for neighbours finds beats that are equal, by rounding


def near_copies(*, synthetic: Features, train: Features, control: Features, near: float = NEAR) -> NDArray[np.bool_]:
    """Say which synthetic beats lie suspiciously near to a training beat.

    An attacker who holds a suspect's beats looks for synthetic ones that are next to identical.

    Parameters
    ----------
    synthetic, train, control : array, shape (n, d)
        Waveforms of one class, mV; `control` are fresh real beats of patients as near to those of `train` as
        synthetic beats may be.
    near : float
        Share of fresh real beats that sets the threshold.

    Returns
    -------
    array of bool, shape (n,)
        Of each synthetic beat; `near` of them in the mean where they are as fresh as `control`.

    References
    ----------
    Distances to the training side held against those of fresh real beats, after Meehan C et al. A non-parametric test to detect
    data-copying in generative models (2020), doi:10.48550/arXiv.2004.05675, who test all distances together; here the nearest are counted.
    """
    ours, fresh = (nearest_distances(beats=side, among=train) for side in (synthetic, control))
    return nearer_than_fresh(ours, fresh, near=near)


def nearer_than_fresh(ours: Values, fresh: Values, *, near: float = NEAR) -> NDArray[np.bool_]:
    """Say which distances to training beats are no more than the least share `near` of those of fresh beats.

    If so many fresh beats are training beats to the last bit, as flat ones are, the least is 0, and copies are as near.
    """
    return np.asarray(ours <= np.quantile(fresh, near) + _EQUAL)


def train_over_control(*, to_train: Values, to_control: Values) -> Values:
    """Give, for each synthetic beat, its distance to the nearest training beat over that to the nearest control beat.

    Parameters
    ----------
    to_train, to_control : array, shape (n,)
        Of each synthetic beat, to the nearest training beat and to the nearest control beat, mV.

    Returns
    -------
    array, shape (n,)
        Near 0 for copies. What a generator reaches that does not copy is what fresh real beats reach: 1 or so where
        both sides are as large, less where there are more training beats, as the nearest of many is nearer.

    References
    ----------
    Distances to the closest record of either side: Platzer M, Reutterer T. Front Big Data 4:679939 (2021),
    doi:10.3389/fdata.2021.679939. They count how often the training record is the nearer one, of sides that are as large; where
    the training side is many times larger, that share is near 1 of fresh and of copied beats alike, and the ratio is not.
    """
    return _over(to_train, to_control)


def _over(one: Values, other: Values) -> Values:
    """Give distances over others, of which 0 over 0 is 1."""
    return np.asarray((one + _TINY) / (other + _TINY))


def nearest_errors(*, beats: Features, train: Features) -> tuple[Values, Values]:
    """Give how far each beat is from the nearest training beat, as papers give it for the quality of synthetic beats.

    It is none: the less, the more a beat is a copy. It tells of memory, and is to be as of fresh real beats.

    Parameters
    ----------
    beats, train : array, shape (n, d) and (m, d)
        Waveforms, mV.

    Returns
    -------
    tuple of arrays, shape (n,)
        Root mean square error, mV, and percentage root mean square difference: 100 for a beat as far from the nearest one
        as that is from 0.
    """
    from sklearn.neighbors import NearestNeighbors

    distances, places = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train).kneighbors(beats)
    height = np.linalg.norm(train[places[:, 0]], axis=1) + _TINY
    return distances[:, 0] / np.sqrt(beats.shape[1]), 100 * distances[:, 0] / height


def singled_out(*, beats: Features, train: Features, patients: Strings) -> Values:
    """Give, for each beat, its distance to the nearest training patient over that to the second nearest one.

    Parameters
    ----------
    beats, train : array, shape (n, d) and (m, d)
        Waveforms, mV.
    patients : array of str, shape (m,)
        Of each training beat.

    Returns
    -------
    array, shape (n,)
        Near 0 where a beat points at one patient alone, near 1 where at least two could have given it.

    Raises
    ------
    ValueError
        If there are fewer than two patients.

    References
    ----------
    The nearest neighbour distance ratio, with patients in the place of rows: Zhao Z et al. CTAB-GAN (2021),
    doi:10.48550/arXiv.2102.08369.
    """
    names = np.unique(patients)
    if len(names) < 2:
        raise ValueError("at least two training patients are needed")
    apart = np.stack([nearest_distances(beats=beats, among=train[patients == name]) for name in names])  # (patients, n)
    return _over(*np.partition(apart, 1, axis=0)[:2])


def membership_scores(*, beats: Features, records: Strings, synthetic: Features, reference: Features) -> dict[str, float]:
    """Say of each record how much nearer synthetic beats come to its beats than beats of others do.

    The attacker holds whole records and asks which of them the generator learnt from.

    Parameters
    ----------
    beats : array, shape (n, d)
        Waveforms of the records in question, mV.
    records : array of str, shape (n,)
        Of each beat.
    synthetic : array, shape (m, d)
        What was released.
    reference : array, shape (k, d)
        Real beats of patients that the attacker knows not to be in question: they tell how near beats of
        others come to a record in any case, as some are usual and some strange.

    Returns
    -------
    dict of str to float
        Record -> mean over its beats of log(distance to the nearest reference beat / nearest synthetic beat): the
        more, the likelier it was learnt from.

    References
    ----------
    The distance to what was generated, van Breugel B et al. (2023), doi:10.48550/arXiv.2302.12580; set off against a
    reference as in Watson L et al. (2022), doi:10.48550/arXiv.2111.08440.
    """
    ours, others = (np.log(nearest_distances(beats=beats, among=side) + _TINY) for side in (synthetic, reference))
    return {str(name): float(np.mean((others - ours)[records == name])) for name in np.unique(records)}


def membership_auc(
    members: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]], *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Measure how well scores tell members from others, over several held-out draws.

    Parameters
    ----------
    members, others : sequence of dict of str to float
        For each draw of patients that a generator learnt from, the scores of those records, and of records held
        out, by their names; draws are not mixed, as scores of different generators are not on one scale.
    draws : int
        Bootstrap draws.
    seed : int
        Of these.

    Returns
    -------
    Interval
        Mean area under the ROC curve, 0.5 for guessing and 1 where every member is found out, and its interval: the percentiles of
        a bootstrap that takes records, the same in all draws of patients, and draws of patients with replacement; but nowhere
        narrower than `area_interval` of as many as were members or others in any draw, as no bootstrap knows what else could
        have come where all are found out.

    References
    ----------
    Hanley JA, McNeil BJ. Radiology 143(1):29-36 (1982), doi:10.1148/radiology.143.1.7063747: the area as the share of
    pairs in the right order.
    """
    rng = np.random.default_rng(seed)
    names = sorted({name for side in (*members, *others) for name in side})
    times = dict(zip(names, rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws).T, strict=True))
    areas, values = np.empty((len(members), draws)), []
    for area, *sides in zip(areas, members, others, strict=True):
        one, other = (np.array(list(side.values())) for side in sides)
        right = (np.sign(one[:, None] - other[None]) + 1) / 2  # of each pair
        values.append(right.mean())
        ours, theirs = (np.stack([times[name] for name in side], axis=1) for side in sides)  # how often each is drawn
        pairs = ours.sum(axis=1) * theirs.sum(axis=1)
        area[:] = np.divide(np.einsum("di,ij,dj->d", ours, right, theirs), pairs, out=np.full(draws, np.nan), where=pairs > 0)
    taken = rng.integers(len(areas), size=(len(areas), draws))
    low, high = np.nanpercentile(np.take_along_axis(areas, taken, axis=0).mean(axis=0), [2.5, 97.5])
    least = area_interval(float(np.mean(values)), *(len({name for draw in side for name in draw}) for side in (members, others)))
    return Interval(least.value, min(float(low), least.low), max(float(high), least.high))


def area_interval(area: float, members: int, others: int) -> Interval:
    """Give the 95 % interval of an area under the ROC curve, which has a width where all are told apart, too.

    Parameters
    ----------
    area : float
        0 to 1.
    members, others : int
        How many were scored on each side.

    Returns
    -------
    Interval
        All areas that lie no further from `area` than 1.96 of their own standard errors.

    References
    ----------
    Newcombe RG. Stat Med 25(4):559-573 (2006), doi:10.1002/sim.2324: method 5, with the variance of Hanley and McNeil.
    """
    from scipy.optimize import brentq

    half = (members + others) / 2 - 1

    def apart(truth: float) -> float:
        variance = truth * (1 - truth) * (1 + half * (1 - truth) / (2 - truth) + half * truth / (1 + truth)) / (members * others)
        return abs(area - truth) - 1.96 * float(np.sqrt(variance))

    low = brentq(apart, 0, area - _TINY) if area > _TINY and apart(area - _TINY) < 0 else 0.0
    high = brentq(apart, area + _TINY, 1) if area < 1 - _TINY and apart(area + _TINY) < 0 else 1.0
    return Interval(area, float(low), float(high))


def attribute_votes(*, beats: Features, patients: Strings, truth: Strings, synthetic: Features, carried: Strings) -> dict[str, Values]:
    """Guess an attribute of named patients from the synthetic beats nearest to theirs.

    The attacker holds beats of a patient and wants to know more of them, such as their sex; a synthetic beat that is a near
    copy stands for whoever was behind it, and others for nobody.

    Parameters
    ----------
    beats : array, shape (n, d)
        Waveforms of the named patients.
    patients, truth : array of str, shape (n,)
        Whose they are, and the patient's attribute.
    synthetic : array, shape (m, d)
        What was released.
    carried : array of str, shape (m,)
        The attribute behind each, or ``""`` where nobody is: of the training patient with the nearest beat, if that is near.
        As synthetic beats do not tell it, this is more than a real attacker has. Were it told of all beats, it would be
        found out by any beats that lie among those of the patients, even random ones.

    Returns
    -------
    dict of str to array, shape (n_patients,)
        For each value of the attribute, and each patient who has it in the order of their names, the share of their beats
        that vote for it; half a vote where nobody is behind the nearest synthetic beat.

    References
    ----------
    Giomi M et al. Proc Priv Enh Tech 2023(2):312-328, doi:10.56553/popets-2023-0055: inference as a guess by the nearest
    synthetic row, held against the same guess about people who were not learnt from.
    """
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(synthetic).kneighbors(beats, return_distance=False)[:, 0]
    right = np.where(carried[nearest] == "", 0.5, carried[nearest] == truth)
    return {
        str(value): np.array([right[patients == name].mean() for name in np.unique(patients[truth == value])]) for value in np.unique(truth)
    }


def excess(members: Mapping[str, Values], others: Mapping[str, Values]) -> Interval:
    """Give by how much members score above others, with a 95 % interval over both.

    Parameters
    ----------
    members, others : dict of str to array, shape (n,)
        For each value of the attribute in question, a score of each patient who has it, of those learnt from and of those not.
        All values count alike: who always guesses the same gets no more of either side, however usual the values are there.

    Returns
    -------
    Interval
        NaN at both ends if a value has one patient alone on a side. No score scatters, and none has a width, where nobody is behind
        any beat.

    References
    ----------
    Welch BL. Biometrika 34(1-2):28-35 (1947), doi:10.1093/biomet/34.1-2.28: Student's t for means of few whose variances differ.
    """
    from scipy.stats import t

    sides = (list(members.values()), list(others.values()))
    value = float(np.subtract(*(np.mean([scores.mean() for scores in side]) for side in sides)))
    counts = np.array([len(scores) for side in sides for scores in side])
    if counts.min() < 2:
        return Interval(value, float("nan"), float("nan"))
    parts = np.array([scores.var(ddof=1) / len(scores) / len(side) ** 2 for side in sides for scores in side])
    if not parts.any():
        return Interval(value, value, value)
    freedom = parts.sum() ** 2 / (parts**2 / (counts - 1)).sum()
    reach = float(t.ppf(0.975, freedom) * parts.sum() ** 0.5)
    return Interval(value, value - reach, value + reach)


def likenesses(*, synthetic: Features, known: Features, patients: Strings, seed: int = 0) -> dict[str, float]:
    """Say of each patient how much a classifier of patients takes synthetic beats for theirs.

    The attacker holds beats of many patients, does not know which of them a generator learnt from, and has a classifier learn
    to tell them apart.

    Parameters
    ----------
    synthetic, known : array, shape (n, d)
        Features of beats: of those released, and of those that the attacker holds.
    patients : array of str, shape (n_known,)
        Of each beat held.
    seed : int
        Of the trees.

    Returns
    -------
    dict of str to float
        Patient -> mean probability that a synthetic beat is theirs. They sum to 1.

    Notes
    -----
    200 extremely randomised trees with two beats or more in a leaf, which are unsure of what lies between the patients, and
    of noise: those of scikit-learn's forest, one after the other, as each takes memory for every leaf and patient.

    References
    ----------
    Geurts P, Ernst D, Wehenkel L. Mach Learn 63:3-42 (2006), doi:10.1007/s10994-006-6226-1.
    """
    from sklearn.tree import ExtraTreeClassifier

    random = np.random.RandomState(seed)
    names = np.unique(patients)
    total = np.zeros((len(synthetic), len(names)))
    for _ in range(_TREES):
        tree = ExtraTreeClassifier(min_samples_leaf=2, random_state=random.randint(np.iinfo(np.int32).max))
        total += tree.fit(known, patients).predict_proba(synthetic)
    return dict(zip(map(str, names), map(float, (total / _TREES).mean(axis=0)), strict=True))
