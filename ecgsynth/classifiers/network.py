"""The arrhythmia classifier by which beats are judged first: a small 1-D convolutional network."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgsynth.augmentation import vary
from ecgsynth.beats import Beats
from ecgsynth.classifiers.base import Classifier
from ecgsynth.classifiers.features import told_rhythm
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import read_tensors, write_tensors
from ecgsynth.mixing import with_means
from ecgsynth.untrusted import conform, is_above_0, is_count, is_whole, network_of, of_beats
from ecgsynth.vectors import shape_of

NEW_PATIENTS: dict[str, Any] = {
    "features": "shape+rr",
    "positions": 4,
    "width": 16,
    "steps": 1200,
    "members": 3,
    "scaled": True,
    "across": 5,
}
"""Settings of `BeatClassifier` for patients it has not seen, chosen among those of DS1: `scripts/choose_classifier.py`."""

FORMAT = 1

_SHAPE = ("n_leads", "n_samples", "fs", "r_sample")
_TOLD = 32  # features of the rhythm
_FLAT = 4e-4  # mV², which are added to the variance of a beat that is scaled
_MOST_MEMBERS = 64  # more are no committee: a file that says so would fill the memory
_HEAD = {
    "settings": {str: object},
    "seed": is_count,
    "classes": [str],
    "shape": {"n_leads": is_whole, "n_samples": is_whole, "fs": is_above_0, "r_sample": is_count},
    "n_rhythm?": lambda number: number in (2, 3),
    "usual?": lambda usual: np.shape(usual) == (2, 2) and bool(np.isfinite(usual).all()),
}

# Shapes: B batch, C channels, L samples, R rhythm columns, K labels.


class BeatNet(nn.Module):
    """Four strided convolutions, whose output is joined by the rhythm where it is given, and two linear layers."""

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_labels: int,
        *,
        n_rhythm: int = 0,
        width: int = 16,
        positions: int | None = None,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.InstanceNorm1d(n_leads, eps=_FLAT)] if scaled else []
        channels = n_leads
        for out, kernel in ((width, 7), (2 * width, 5), (4 * width, 5), (4 * width, 3)):
            layers += [nn.Conv1d(channels, out, kernel, stride=2, padding=kernel // 2, bias=False), nn.BatchNorm1d(out), nn.ReLU()]
            channels = out
        self.features = nn.Sequential(*layers)  # (B, leads, L) -> (B, C, L / 16)
        flat = channels * (positions or -(-n_samples // 16))
        pooled = [nn.AdaptiveAvgPool1d(positions)] if positions else []
        self.thin = nn.Sequential(*pooled, nn.Flatten(), nn.Dropout(0.3))
        self.rhythm = nn.Sequential(nn.Linear(n_rhythm, _TOLD), nn.ReLU()) if n_rhythm else None
        self.head = nn.Sequential(nn.Linear(flat + _TOLD * bool(n_rhythm), 128), nn.ReLU(), nn.Linear(128, n_labels))

    def forward(self, signals: Tensor, rhythm: Tensor) -> Tensor:
        """Give the score of each label: (B, leads, L), (B, R) -> (B, K)."""
        seen = self.thin(self.features(signals))
        if self.rhythm is not None:
            seen = torch.cat([seen, self.rhythm(rhythm)], dim=1)
        scores: Tensor = self.head(seen)
        return scores


class Committee(nn.Module):
    """Networks that have learnt the same by other chance: their mean probability counts.

    References
    ----------
    Lakshminarayanan B, Pritzel A, Blundell C. Simple and scalable predictive uncertainty estimation using deep ensembles (2017),
    doi:10.48550/arXiv.1612.01474.
    """

    def __init__(self, members: list[BeatNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def features(self, signals: Tensor) -> Tensor:
        """Give the features of all: (B, leads, L) -> (B, members * C, L / 16)."""
        return torch.cat([cast(BeatNet, member).features(signals) for member in self.members], dim=1)

    def forward(self, signals: Tensor, rhythm: Tensor) -> Tensor:
        """Give scores whose softmax is the mean of the members': (B, leads, L), (B, R) -> (B, K)."""
        return torch.stack([member(signals, rhythm).log_softmax(dim=1) for member in self.members]).logsumexp(dim=0)


class BeatClassifier(Classifier):
    """Learns the label of a beat from its waveform in mV, and from its rhythm if it may.

    Every classifier of an evaluation takes the same number of steps, whatever the number of beats it
    learns from, so that no training set gains by its size alone.

    Parameters
    ----------
    features : str
        ``"shape"`` or ``"shape+rr"``, of `FEATURES`.
    steps : int
        Training steps of each network.
    batch : int
        Beats a step, in the proportions of the training set.
    rate : float
        Highest learning rate of a one-cycle schedule.
    width : int
        Channels of the first layer.
    balanced : bool
        Weigh the loss so that all labels count alike.
    augment : bool
        Vary each beat anew whenever it is learnt from: `ecgsynth.augmentation.vary`.
    positions : int, optional
        Places along the beat at which features are kept, a sixteenth of its samples if not given; fewer say
        less of where exactly a wave is.
    scaled : bool
        See each lead of each beat less its mean and over its standard deviation, so that how large beats are tells nothing.
    across : int
        Learn, beside the beats, means of one beat each of so many patients, by which rare labels become less rare:
        `ecgsynth.mixing.with_means`. 1 adds none.
    members : int
        Networks that learn, one after the other, and are asked together: on new patients one alone hangs on chance.
    seed : int
        Same beats, seed and machine: same classifier.
    """

    def __init__(
        self,
        *,
        features: str = "shape",
        steps: int = 4000,
        batch: int = 128,
        rate: float = 2e-3,
        width: int = 16,
        balanced: bool = False,
        augment: bool = False,
        positions: int | None = None,
        scaled: bool = False,
        across: int = 1,
        members: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(features=features, seed=seed)
        self.steps = steps
        self.batch = batch
        self.rate = rate
        self.width = width
        self.balanced = balanced
        self.augment = augment
        self.positions = positions
        self.scaled = scaled
        self.across = across
        self.members = members
        if across < 1:
            raise EcgsynthError("across must be at least 1")
        if not 1 <= members <= _MOST_MEMBERS:
            raise EcgsynthError(f"members must be 1 to {_MOST_MEMBERS}")

    def fit(self, beats: Beats, *, by: str = "class") -> Self:
        """Learn from labelled beats; see `fit_steps`."""
        for _ in self.fit_steps(beats, by=by):
            pass
        return self

    def fit_steps(self, beats: Beats, *, by: str = "class") -> Iterator[float]:
        """Learn step by step to tell AAMI classes apart, or symbols; yields the share done.

        Raises
        ------
        EcgsynthError
            If there are fewer than two labels, no RR intervals for a classifier that may see them, or what it learns is no number.
        """
        self._learn_labels(beats, by)
        if self.across > 1:
            beats = with_means(beats, self.across, by=by, seed=self.seed)
        if self.features != "shape":
            self._n_rhythm = shape_of(beats).n_rhythm
            rhythm = told_rhythm(beats, self._n_rhythm)
            self._usual = rhythm.mean(axis=0), rhythm.std(axis=0) + np.float32(1e-3)
        self.shape_ = {name: getattr(beats, name) for name in _SHAPE}
        inputs = self._inputs(beats)
        numbers = {name: number for number, name in enumerate(self.classes_)}
        labels = torch.tensor([numbers[name] for name in beats.labels(by).tolist()])
        weights = len(labels) / (len(self.classes_) * labels.bincount().float()) if self.balanced else None
        networks = []
        for number in range(self.members):
            seed = self.seed + 10_007 * number
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)  # of the CPU alone, which is what is forked
                networks.append(self._untrained_member())
            for share in self._train(networks[-1], inputs, labels, weights, seed):
                yield (number + share) / self.members
        self._net = self._together(networks).eval()

    def _train(self, network: BeatNet, inputs: tuple[Tensor, Tensor], labels: Tensor, weights: Tensor | None, seed: int) -> Iterator[float]:
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(network.parameters(), self.rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=max(self.steps, 4))
        network.train()
        for step, index in zip(range(self.steps), _batches(len(labels), self.batch, generator), strict=False):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed * 1_000_003 + step)  # dropout reads no other
                shown, told = (part[index] for part in inputs)
                if self.augment:
                    shown = vary(shown, fs=self.shape_["fs"], r_sample=self.shape_["r_sample"], random=generator)
                loss = nn.functional.cross_entropy(network(shown, told), labels[index], weights)
            _refuse_broken(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield (step + 1) / self.steps
        _refuse_broken(*network.state_dict().values())

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write one safetensors file: the weights, and as metadata everything else.

        Raises
        ------
        EcgsynthError
            If something learnt is not a number, `path` exists and `force` is not set, or it cannot be written.
        """
        write_tensors(path, *self.state(), force=force)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Give all that was learnt: as plain JSON, and as arrays."""
        head = {"format": FORMAT, "settings": self.settings, "seed": self.seed, "classes": self.classes_, "shape": self.shape_}
        if self.features != "shape":
            head |= {"n_rhythm": self._n_rhythm, "usual": [part.tolist() for part in self._usual]}
        return head, {name: tensor.numpy() for name, tensor in self._net.state_dict().items()}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        EcgsynthError
            If there is no such file, or it holds no classifier.
        """
        try:
            return cls.restored(*read_tensors(path, "classifier"))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, EcgsynthError):
                raise
            raise EcgsynthError(f"{path} is no classifier of beats, or it is damaged ({error})") from error

    @classmethod
    def restored(cls, head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the classifier that gave this `state`."""
        if head["format"] != FORMAT:
            raise EcgsynthError(f"a classifier of format {head['format']}; this version reads format {FORMAT}")
        known = conform(head, _HEAD)
        of_beats(known["shape"] | {"source": "", "info": {}}, (1, known["shape"]["n_leads"], known["shape"]["n_samples"]))
        made = cls(**known["settings"], seed=known["seed"])
        made.classes_, made.shape_ = tuple(known["classes"]), known["shape"]
        if made.features != "shape":
            made._n_rhythm = known["n_rhythm"]
            mean, spread = (np.array(part, dtype=np.float32) for part in known["usual"])
            made._usual = mean, spread
        made._net = network_of(made._untrained, arrays)
        with torch.no_grad():  # whatever does not fit together shows now
            made._net(torch.zeros(1, *(known["shape"][name] for name in _SHAPE[:2])), torch.zeros(1, 2 * (made.features != "shape")))
        return made

    def fits(self, beats: Beats) -> bool:
        """Say whether beats have the leads, length, sampling rate and place of the R peak of those learnt from."""
        return all(getattr(beats, name) == value for name, value in self.shape_.items())

    def embed(self, beats: Beats) -> NDArray[np.float32]:
        """Give what the last convolution sees, in the mean over the beat: (n_beats, 4 * width)."""
        with torch.no_grad():
            parts = [cast(BeatNet, self._net).features(part).mean(dim=2) for part in self._inputs(beats)[0].split(512)]
        return torch.cat(parts).numpy()

    def predict(self, beats: Beats) -> NDArray[np.str_]:
        """Give the label of each beat: (n_beats,)."""
        return np.array(self.classes_)[self.probabilities(beats).argmax(axis=1)]

    def probabilities(self, beats: Beats) -> NDArray[np.float32]:
        """Give how likely the classifier takes each label to be, in the order of `classes_`: (n_beats, n_labels)."""
        with torch.no_grad():
            parts = [self._net(*part).softmax(dim=1) for part in zip(*(part.split(512) for part in self._inputs(beats)), strict=True)]
        return torch.cat(parts).numpy()

    def _untrained(self) -> nn.Module:
        return self._together([self._untrained_member() for _ in range(self.members)])

    def _together(self, networks: list[BeatNet]) -> nn.Module:
        return networks[0] if self.members == 1 else Committee(networks)

    def _untrained_member(self) -> BeatNet:
        size = (int(self.shape_["n_leads"]), int(self.shape_["n_samples"]), len(self.classes_))
        rhythm = 2 * (self.features != "shape")
        return BeatNet(*size, n_rhythm=rhythm, width=self.width, positions=self.positions, scaled=self.scaled)

    def _inputs(self, beats: Beats) -> tuple[Tensor, Tensor]:
        """Give waveform and rhythm: (n, leads, L), (n, R)."""
        signals = torch.from_numpy(beats.signals.reshape(len(beats), beats.n_leads, beats.n_samples))
        if self.features == "shape":
            return signals, torch.zeros(len(beats), 0)
        mean, spread = self._usual
        return signals, torch.from_numpy((told_rhythm(beats, self._n_rhythm) - mean) / spread)


def _refuse_broken(*values: Tensor) -> None:
    if not all(value.isfinite().all() for value in values):
        raise EcgsynthError("a classifier has come to what is no number: look for odd values among its beats, or set a lower rate")


def _batches(total: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Go through all beats in random order, again and again."""
    size = min(size, total)
    while True:
        order = torch.randperm(total, generator=generator)
        yield from order[: total - total % size].split(size)
