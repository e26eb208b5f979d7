"""The gate that each synthetic beat passes before it leaves: whether it is whole, shaped as beats of its label are, and plainly of it."""

import hashlib
from collections.abc import Generator as Steps
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import FLAT_MV, Beats, refuse_impossible
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import read_tensors, tensor_bytes, write_tensors
from ecgsynth.labels import LABELS
from ecgsynth.steps import drain
from ecgsynth.untrusted import conform, is_share

FORMAT = 1

MEASURES = {
    "R peak": "centre of the QRS complex, ms after the sample of the R peak",
    "amplitude": "peak to peak, mV",
    "QRS width": "time in which 90 % of the QRS complex pass, ms",
    "baseline": "median, mV",
    "spectrum": "share of the power that lies above 20 Hz",
}
"""What `measure_shapes` gives."""

_RATIOS = ("amplitude", "QRS width", "spectrum")  # above 0, whose limits are widened by a factor

NOT_FINITE, FLAT, LABEL = "not finite", "flat", "label"
REASONS = (NOT_FINITE, FLAT, *MEASURES, LABEL)
"""Why a beat may be kept back, in the order in which reasons are given."""

_TAIL = 0.005  # of the training beats lie beyond each end of a limit, before it is widened
_WIDENED = 0.1  # of its width, at either end: those of rare labels are known from few beats
_UNLIKELY = 0.02  # of the training beats are less likely of their label than the gate asks for
_DOUBTFUL = 0.5  # likelihood below which another label may be meant; the gate asks for no more
_ANOTHER = 0.001  # likelihood below which another label is surely meant; the gate asks for no less
_QRS_S = 0.2  # s to each side of the R peak in which the QRS complex lies
_QRS_ENDS = (0.05, 0.5, 0.95)  # of its energy, at which it begins, has its centre, and ends
_HIGH_HZ = 20.0
_CHUNK = 4096  # beats measured at a time


def _is_limit(value: Any) -> bool:
    return np.shape(value) == (2,) and bool(np.isfinite(value).all()) and value[0] <= value[1]


_HEAD = {"by": set(LABELS), "limits": {str: dict.fromkeys(MEASURES, _is_limit)}, "likely": {str: is_share}, "data_sha256": str}

# Shapes: n beats, C leads, L samples.
Values = NDArray[np.float64]


class Limit(NamedTuple):
    """Between what a measure lies."""

    low: float
    high: float


@dataclass(frozen=True)
class Gate:
    """What beats of each label must hold.

    Parameters
    ----------
    by : str
        ``"class"`` or ``"symbol"``: what beats are told apart by.
    limits : mapping of str to mapping of str to Limit
        Label -> each of `MEASURES` -> its limits.
    likely : mapping of str to float
        Label -> how likely the classifier must at least take a beat of this label to be of it.
    classifier : BeatClassifier
        What says how likely that is.
    data_sha256 : str
        The digest of the training beats whose limits these are.

    Notes
    -----
    All but 0.5 % of the training beats of a label lie within a limit at either end, which is then widened by a tenth of its
    width, or of the logarithm's of what cannot be below 0. The classifier has learnt from beats that were held back from the
    generator; all but 2 % of the training beats of a label, which it has not learnt from, are as likely as the least that is
    asked for, which is never below 0.001 nor above 0.5.
    """

    by: str
    limits: Mapping[str, Mapping[str, Limit]]
    likely: Mapping[str, float]
    classifier: BeatClassifier
    data_sha256: str

    @classmethod
    def learn(cls, train: Beats, held_back: Beats, *, by: str = "class", classifier: BeatClassifier | None = None) -> "Gate":
        """Learn limits from the beats that a generator learns from, and a classifier from others; see `learn_steps`."""
        return drain(cls.learn_steps(train, held_back, by=by, classifier=classifier))

    @classmethod
    def learn_steps(
        cls, train: Beats, held_back: Beats, *, by: str = "class", classifier: BeatClassifier | None = None
    ) -> Steps[float, None, "Gate"]:
        """Do the work of `learn`, yielding the share done.

        Parameters
        ----------
        train : Beats
            What limits are learnt from: the train side of a split.
        held_back : Beats
            What the classifier learns from: the val side.
        by : str
            ``"class"`` or ``"symbol"``.
        classifier : BeatClassifier, optional
            One with other settings than the defaults.

        Raises
        ------
        EcgsynthError
            If beats are synthetic or hold what no ECG reaches, or the held-back ones lack a label.
        """
        if train.is_synthetic or held_back.is_synthetic:
            raise EcgsynthError("a gate is learnt from real beats; these are synthetic")
        refuse_impossible(train, "training")
        refuse_impossible(held_back, "held-back")
        labels = train.labels(by)
        lacking = [label for label in train.counts(by) if label not in held_back.counts(by)]
        if lacking:
            raise EcgsynthError(f"there is no held-back beat of {by} {', '.join(lacking)}, by which a gate could tell it")
        classifier = classifier or BeatClassifier()
        yield from classifier.fit_steps(held_back.take(np.isin(held_back.labels(by), labels)), by=by)
        measured = measure_shapes(train)
        own = _likelihood(classifier, train, labels)
        limits = {label: {name: _limit(name, values[labels == label]) for name, values in measured.items()} for label in train.counts(by)}
        likely = {label: float(np.clip(np.quantile(own[labels == label], _UNLIKELY), _ANOTHER, _DOUBTFUL)) for label in limits}
        return cls(by, limits, likely, classifier, train.digest())

    def check(self, beats: Beats) -> NDArray[np.bool_]:
        """Say what is wrong with each beat.

        Parameters
        ----------
        beats : Beats
            Cut as those that the gate was learnt from.

        Returns
        -------
        array of bool, shape (n_beats, 8)
            Whether each of `REASONS` speaks against it; a beat passes if none does.

        Raises
        ------
        EcgsynthError
            If the beats are cut otherwise, or of labels that the gate does not know.
        """
        if not self.classifier.fits(beats):
            raise EcgsynthError("the gate was learnt from beats of other leads, length, sampling rate or place of the R peak")
        labels = beats.labels(self.by)
        strange = [label for label in beats.counts(self.by) if label not in self.limits]
        if strange:
            raise EcgsynthError(f"the gate knows no beats of {self.by} {', '.join(strange)}; it knows {', '.join(self.limits)}")
        against = np.zeros((len(beats), len(REASONS)), dtype=bool)
        waves = _waves(beats)
        against[:, 0] = ~np.isfinite(waves).all(axis=(1, 2))
        whole = np.flatnonzero(~against[:, 0])
        against[whole, 1] = (np.ptp(waves[whole], axis=2) < FLAT_MV).any(axis=1)
        whole = np.flatnonzero(~against[:, :2].any(axis=1))
        against[whole, 2:] = self._odd(beats.take(whole), labels[whole])
        return against

    def _odd(self, beats: Beats, labels: NDArray[np.str_]) -> NDArray[np.bool_]:
        """Say which measures of whole beats lie beyond their limits, and which beats are hardly of their label: (n, 6)."""
        odd = np.zeros((len(beats), len(MEASURES) + 1), dtype=bool)
        measured, own = measure_shapes(beats), _likelihood(self.classifier, beats, labels)
        for label in np.unique(labels).tolist():
            of = labels == label
            for column, (name, values) in enumerate(measured.items()):
                low, high = self.limits[label][name]
                odd[of, column] = (values[of] < low) | (values[of] > high)
            odd[of, -1] = own[of] < self.likely[label]
        return odd

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write one safetensors file: the classifier's weights, and as metadata everything else.

        Raises
        ------
        EcgsynthError
            If something learnt is not a number, `path` exists and `force` is not set, or it cannot be written.
        """
        write_tensors(path, *self._state(), force=force)

    def digest(self) -> str:
        """Return the SHA-256 of the file that `save` writes."""
        return hashlib.sha256(tensor_bytes(*self._state())).hexdigest()

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        known, weights = self.classifier.state()
        return {"format": FORMAT, "gate": self.summary(), "classifier": known}, weights

    def summary(self) -> dict[str, Any]:
        """Give everything but the classifier as plain JSON."""
        limits = {label: {name: list(limit) for name, limit in of.items()} for label, of in self.limits.items()}
        return {"by": self.by, "limits": limits, "likely": dict(self.likely), "data_sha256": self.data_sha256}

    @classmethod
    def load(cls, path: str | Path) -> "Gate":
        """Read what `save` wrote; nothing in it is executed.

        Raises
        ------
        EcgsynthError
            If there is no such file, or it holds no gate.
        """
        head, weights = read_tensors(path, "gate")
        try:
            if head["format"] != FORMAT:
                raise ValueError(f"format {head['format']}; this version reads format {FORMAT}")
            kept = conform(head["gate"], _HEAD)
            limits = {label: {name: Limit(*of[name]) for name in MEASURES} for label, of in kept["limits"].items()}
            likely = {label: float(kept["likely"][label]) for label in limits}
            classifier = BeatClassifier.restored(conform(head["classifier"], {}), weights)
            if strange := set(limits) - set(classifier.classes_).intersection(LABELS[kept["by"]]):
                raise ValueError(f"its classifier knows no {', '.join(strange)}")
            return cls(kept["by"], limits, likely, classifier, kept["data_sha256"])
        except Exception as error:  # torch raises whatever the damage leads to
            raise EcgsynthError(f"{path} is no gate of ecgsynth, or it is damaged ({error})") from error


def measure_shapes(beats: Beats) -> dict[str, Values]:
    """Measure each beat quickly and roughly: its QRS complex by the energy of its slope, its amplitude, baseline and spectrum.

    Parameters
    ----------
    beats : Beats
        Finite, and not flat.

    Returns
    -------
    dict of str to array, shape (n_beats,)
        Each of `MEASURES`. Of several leads the energies count together, the amplitude is the largest, and the baseline that
        of the first. The QRS complex is looked for within 0.2 s of the R peak; it begins and ends where 5 % and 95 % of the
        energy of its slope have passed, and its centre is where half of it has.
    """
    waves = _waves(beats)
    chunks = [_measured(waves[start : start + _CHUNK], beats.fs, beats.r_sample) for start in range(0, len(waves), _CHUNK)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) if chunks else np.zeros(0) for name in MEASURES}


def _measured(waves: NDArray[np.float32], fs: float, r_sample: int) -> dict[str, Values]:
    near = slice(max(0, r_sample - round(_QRS_S * fs)), r_sample + round(_QRS_S * fs) + 1)
    energy = (np.gradient(waves[..., near].astype(np.float64), axis=2) ** 2).sum(axis=1)
    begin, centre, end = (_passed(energy, share) for share in _QRS_ENDS)
    power = (np.abs(np.fft.rfft(waves, axis=2)[..., 1:]) ** 2).sum(axis=1, dtype=np.float64)  # but the constant part
    high = np.fft.rfftfreq(waves.shape[2], 1 / fs)[1:] > _HIGH_HZ
    found = (
        1000 / fs * (centre + near.start - r_sample),
        np.ptp(waves, axis=2).max(axis=1),
        1000 / fs * (end - begin),
        np.median(waves[:, 0], axis=1),
        power[:, high].sum(axis=1) / power.sum(axis=1),
    )
    return {name: np.asarray(values, dtype=np.float64) for name, values in zip(MEASURES, found, strict=True)}


def _passed(energy: Values, share: float) -> Values:
    """Say at which sample, with its fraction, a share of the energy has passed: (n, L) -> (n,)."""
    summed = energy.cumsum(axis=1)
    wanted = share * summed[:, -1:]
    after = np.minimum((summed < wanted).sum(axis=1), energy.shape[1] - 1)
    row = np.arange(len(energy))
    return np.asarray(after - (summed[row, after] - wanted[:, 0]) / np.maximum(energy[row, after], np.finfo(float).tiny))


def _waves(beats: Beats) -> NDArray[np.float32]:
    return beats.signals.reshape(len(beats), beats.n_leads, beats.n_samples)


def _likelihood(classifier: BeatClassifier, beats: Beats, labels: NDArray[np.str_]) -> NDArray[np.float32]:
    """Give how likely the classifier takes each beat to be of its label: (n,)."""
    numbers = {label: number for number, label in enumerate(classifier.classes_)}
    own: NDArray[np.float32] = classifier.probabilities(beats)[np.arange(len(beats)), [numbers[label] for label in labels.tolist()]]
    return own


def _limit(name: str, values: Values) -> Limit:
    if name in _RATIOS:
        return Limit(*np.exp(_limit("", np.log(np.maximum(values, np.finfo(float).tiny)))).tolist())
    low, high = np.quantile(values, (_TAIL, 1 - _TAIL))
    return Limit(float(low - _WIDENED * (high - low)), float(high + _WIDENED * (high - low)))
