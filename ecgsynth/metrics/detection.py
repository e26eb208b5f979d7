"""How easily synthetic beats are told from real ones."""

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.classifiers import BeatFeatures
from ecgsynth.vectors import log_rhythm, shape_of


def suspicions(
    *, real: Beats, synthetic: Beats, patients: tuple[NDArray[np.str_], NDArray[np.str_]] | None = None, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Train boosted trees to tell synthetic from real beats, and ask them about beats they were not trained on.

    Parameters
    ----------
    real, synthetic : Beats
        Of like class proportions, or those are told apart too.
    patients : (array of str, array of str), optional
        Whose the beats of either side are, so that trees are asked about patients they have not learnt from: beats of one
        patient are so much alike that trees know them again, be they real or not.
    seed : int
        Of the two folds and the trees.

    Returns
    -------
    tuple of arrays, shapes (n_real,) and (n_synthetic,)
        How likely the trees take each beat to be synthetic; of folds of patients, which are of unlike size, its place from 0 to 1
        among the beats of its fold instead, where both sides count alike.

    Notes
    -----
    The trees see what `BeatFeatures` finds in both sides together, and the RR intervals that both sides have. Trees suspect all the
    more the more synthetic beats they learnt from, so that likelihoods of two folds do not compare where a patient has many beats.
    Of few patients the area may come out below 0.5 all the same: what sets one half of them apart is not in the other.

    References
    ----------
    Lopez-Paz D, Oquab M. Revisiting classifier two-sample tests (2017), doi:10.48550/arXiv.1610.06545.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict

    sides = (real, synthetic)
    seen = BeatFeatures().fit(*sides)  # of one side alone, its own beats would lie nearer to them
    features = [seen.transform(side) for side in sides]
    if all(np.isfinite(side.rr_before).any() for side in sides):
        known = min(shape_of(side).n_rhythm for side in sides)
        features = [np.column_stack([own, log_rhythm(side, known)]) for own, side in zip(features, sides, strict=True)]
    labels = np.repeat([0, 1], [len(real), len(synthetic)])
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    everything = np.concatenate(features)
    folds = list(StratifiedKFold(2, shuffle=True, random_state=seed).split(everything, labels))
    divided = False
    if patients is not None:
        by_patient = list(StratifiedGroupKFold(2, shuffle=True, random_state=seed).split(everything, labels, np.concatenate(patients)))
        if divided := all(len(np.unique(labels[fold])) == 2 for fold, _ in by_patient):  # else a side has one patient
            folds = by_patient
    found = cross_val_predict(trees, everything, labels, cv=folds, method="predict_proba")[:, 1]
    if divided:
        for _, own in folds:
            found[own] = _places(found[own], labels[own])
    return found[: len(real)], found[len(real) :]


def _places(found: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the place of each number among those of both labels, of which each counts as one half: 0 to 1, equal ones in the middle."""
    sides = [np.sort(found[labels == label]) for label in (0, 1)]
    below, up_to = ([np.searchsorted(side, found, end) / len(side) for side in sides] for end in ("left", "right"))
    return np.mean([*below, *up_to], axis=0)


def area(*, real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> float:
    """Give the area under the ROC curve of suspicions: 0.5 is ideal, 1 means that every beat is found out."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([0, 1], [len(real), len(synthetic)]), np.concatenate([real, synthetic])))


def detection_score(*, real: Beats, synthetic: Beats, seed: int = 0) -> float:
    """Give the `area` of `suspicions`."""
    found, guessed = suspicions(real=real, synthetic=synthetic, seed=seed)
    return area(real=found, synthetic=guessed)
