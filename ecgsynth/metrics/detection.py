"""How easily synthetic beats are told from real ones."""

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.vectors import log_rhythm, shape_of

_COMPONENTS = 32


def detection_score(*, real: Beats, synthetic: Beats, seed: int = 0) -> float:
    """Train boosted trees to tell synthetic from real beats, and see how well they do on beats they were not trained on.

    Parameters
    ----------
    real, synthetic : Beats
        Of like class proportions, or those are told apart too.
    seed : int
        Of the two folds and the trees.

    Returns
    -------
    float
        Area under the ROC curve over two folds: 0.5 is ideal, 1 means that every beat is found out.

    Notes
    -----
    The trees see 32 principal components of the real waveforms, what of each beat lies outside them, and
    the RR intervals that both sides have.

    References
    ----------
    Lopez-Paz D, Oquab M. Revisiting classifier two-sample tests (2017), doi:10.48550/arXiv.1610.06545.
    """
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    sides = (real, synthetic)
    waveforms = [side.signals.reshape(len(side), -1) for side in sides]
    pca = PCA(min(_COMPONENTS, *waveforms[0].shape), svd_solver="covariance_eigh").fit(waveforms[0])
    codes = [pca.transform(waveform) for waveform in waveforms]
    outside = [np.linalg.norm(waveform - pca.inverse_transform(code), axis=1) for waveform, code in zip(waveforms, codes, strict=True)]
    features = [np.column_stack([code, np.log(rest + 1e-6)]) for code, rest in zip(codes, outside, strict=True)]
    if all(np.isfinite(side.rr_before).any() for side in sides):
        known = min(shape_of(side).n_rhythm for side in sides)
        features = [np.column_stack([own, log_rhythm(side, known)]) for own, side in zip(features, sides, strict=True)]
    labels = np.repeat([0, 1], [len(real), len(synthetic)])
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    folds = StratifiedKFold(2, shuffle=True, random_state=seed)
    suspicion = cross_val_predict(trees, np.concatenate(features), labels, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, suspicion))
