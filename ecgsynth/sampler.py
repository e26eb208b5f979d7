"""A sampler for the pipelines of imbalanced-learn: what SMOTE is there, but with any of our generators."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from imblearn.over_sampling.base import BaseOverSampler
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from ecgsynth.beats import BEFORE, FS, Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, load_generator, settings_of
from ecgsynth.labels import LABELS, aami_classes


class BeatSampler(BaseOverSampler):
    """Adds synthetic beats to the rarer classes, in the place of `imblearn.over_sampling.SMOTE`.

    Parameters
    ----------
    generator : str
        Name in `ecgsynth.GENERATORS` of what learns the classes.
    settings : mapping, optional
        Its settings, as ``{"minutes": 5}``.
    model : path, optional
        A model that is trained already, in the place of a generator: a file, or one that comes with ecgsynth. The labels must
        then be those it has learnt, and the beats be cut as those it makes.
    fs : float
        Sampling rate, Hz.
    sampling_strategy : float, str, dict or callable
        As for all over-samplers of imbalanced-learn.
    random_state : int, RandomState or None
        Same state, same beats.

    Notes
    -----
    ``X`` holds a beat a row, mV, shape (n_beats, n_samples); ``y`` any labels, at most nineteen. Put it into an
    `imblearn.pipeline.Pipeline`, so that beats are added to the training part alone.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=200, weights=[0.9], random_state=0)
    >>> X_more, y_more = BeatSampler(generator="gaussian", random_state=0).fit_resample(X, y)
    >>> bool(np.bincount(y_more)[0] == np.bincount(y_more)[1])
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "generator": [str],
        "settings": [dict, None],
        "model": [str, None],
        "fs": [float, int],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        generator: str = "flow",
        settings: Mapping[str, Any] | None = None,
        model: str | None = None,
        fs: float = FS,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.generator = generator
        self.settings = settings
        self.model = model
        self.fs = fs
        self.random_state = random_state

    def _fit_resample(self, X: Any, y: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
        from scipy import sparse

        dense = X.toarray() if sparse.issparse(X) else X
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        wanted = {label: count for label, count in self.sampling_strategy_.items() if count}
        if not wanted:
            return X.copy(), y.copy()
        names = {label: str(label) for label in np.unique(y)} if self.model else _symbols(np.unique(y))
        trained = load_generator(self.model) if self.model else self._learnt(dense, np.array([names[label] for label in y]), seed)
        made = [trained.sample({names[label]: count}, seed=seed).signals.reshape(count, -1) for label, count in wanted.items()]
        if made[0].shape[1] != dense.shape[1] or (self.model and trained.shape_["fs"] != self.fs):
            makes = f"{made[0].shape[1]} samples at {trained.shape_['fs']:g} Hz"
            raise EcgsynthError(f"the model makes beats of {makes}; these have {dense.shape[1]} at {self.fs:g} Hz")
        added = np.concatenate(made).astype(dense.dtype)
        rows = sparse.vstack([X, sparse.csr_matrix(added)], format=X.format) if sparse.issparse(X) else np.concatenate([dense, added])
        return rows, np.concatenate([y, np.repeat(np.array(list(wanted), dtype=y.dtype), list(wanted.values()))])

    def _learnt(self, signals: NDArray[Any], symbols: NDArray[np.str_], seed: int) -> Any:
        """Train the generator on these beats."""
        if self.generator not in GENERATORS:
            raise EcgsynthError(f"unknown generator {self.generator!r}; known: {', '.join(GENERATORS)}")
        seeded = {"seed": seed} if "seed" in settings_of(self.generator) else {}
        beats = Beats(
            signals=signals,
            classes=aami_classes(symbols),
            symbols=symbols,
            fs=float(self.fs),
            r_sample=min(round(BEFORE * self.fs), signals.shape[1] - 1),
        )
        return GENERATORS[self.generator](**seeded | dict(self.settings or {})).fit(beats, by="symbol")


def _symbols(labels: NDArray[Any]) -> dict[Any, str]:
    """Let a symbol stand for each label."""
    if len(labels) > len(LABELS["symbol"]):
        raise EcgsynthError(f"at most {len(LABELS['symbol'])} labels can be learnt at once, not {len(labels)}")
    return dict(zip(labels.tolist(), LABELS["symbol"], strict=False))
