"""Beats for torch: a dataset of those that are there, and an endless one of synthetic ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import Generator, load_generator
from ecgsynth.labels import LABELS

CHUNK = 4096
"""Beats that are made at a time."""


class BeatDataset(Dataset[tuple[Tensor, int]]):
    """Beats with the numbers of their labels.

    Parameters
    ----------
    beats : Beats
        Real or synthetic.
    by : str
        ``"class"`` or ``"symbol"``.

    Attributes
    ----------
    labels : tuple of str
        What the numbers stand for: those that are there, in the order of `ecgsynth.labels.LABELS`.

    Examples
    --------
    >>> beats = Beats(signals=np.zeros((2, 256)), classes=np.array(["N", "V"]))
    >>> signal, number = BeatDataset(beats)[1]
    >>> tuple(signal.shape), number
    ((1, 256), 1)
    """

    def __init__(self, beats: Beats, *, by: str = "class") -> None:
        self.labels = tuple(beats.counts(by))
        numbers = {label: number for number, label in enumerate(self.labels)}
        self._signals = torch.from_numpy(beats.signals.reshape(len(beats), beats.n_leads, beats.n_samples))
        self._numbers = [numbers[label] for label in beats.labels(by).tolist()]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give a beat, mV, shape (n_leads, n_samples), and the number of its label."""
        return self._signals[index], self._numbers[index]


class SyntheticBeats(IterableDataset[tuple[Tensor, int]]):
    """Synthetic beats without end, no two of them the same beat.

    Each pass begins anew with the first; another seed makes others, as for another epoch or for each process of several.

    Parameters
    ----------
    model : path or Generator
        A model file, one that comes with ecgsynth, or a trained generator.
    shares : mapping of str to float, optional
        Label -> how often it comes; all alike if not given.
    seed : int
        Same model, shares and seed: same beats in the same order. Several workers of a loader share the beats between them.

    Attributes
    ----------
    labels : tuple of str
        What the numbers stand for.

    Raises
    ------
    EcgsynthError
        If the model does not know a label, or no share is above 0.

    Examples
    --------
    >>> beats = iter(SyntheticBeats("mitdb-gan", {"N": 0.5, "V": 0.5}))
    >>> signal, number = next(beats)
    >>> tuple(signal.shape)
    (1, 256)
    """

    def __init__(self, model: str | Path | Generator, shares: Mapping[str, float] | None = None, *, seed: int = 0) -> None:
        self.model = model if isinstance(model, Generator) else load_generator(model)
        shares = dict.fromkeys(self.model.classes, 1.0) if shares is None else shares
        if strange := sorted(set(shares) - set(self.model.classes)):
            raise EcgsynthError(f"unknown {self.model.by} {', '.join(strange)}; this model has learnt {', '.join(self.model.classes)}")
        if min(shares.values(), default=0) < 0 or not sum(shares.values()):
            raise EcgsynthError("shares are not below 0, and one at least is above")
        self.labels = tuple(label for label in LABELS[self.model.by] if label in shares)
        self.shares = np.array([shares[label] for label in self.labels]) / sum(shares.values())
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        """Give beats, mV, shape (n_leads, n_samples), each with the number of its label."""
        worker = get_worker_info()
        chunk, step = (worker.id, worker.num_workers) if worker else (0, 1)
        while True:
            yield from self._chunk(chunk)
            chunk += step

    def _chunk(self, number: int) -> Iterator[tuple[Tensor, int]]:
        rng = np.random.default_rng([self.seed, number])
        counts = dict(zip(self.labels, rng.multinomial(CHUNK, self.shares).tolist(), strict=True))
        beats = self.model.sample(counts, seed=self.seed, first=number * CHUNK, workers=1)
        numbers = np.repeat(np.arange(len(self.labels)), list(counts.values()))
        signals = torch.from_numpy(beats.signals.reshape(len(beats), beats.n_leads, beats.n_samples))
        for place in rng.permutation(len(beats)).tolist():
            yield signals[place], int(numbers[place])
