"""The arrhythmia classifier by which beats are judged: a small 1-D convolutional network."""

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError

# Shapes: B batch, C channels, L samples, K classes.


class BeatNet(nn.Module):
    """Four strided convolutions and two linear layers."""

    def __init__(self, n_samples: int, n_classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for out, kernel in ((width, 7), (2 * width, 5), (4 * width, 5), (4 * width, 3)):
            layers += [nn.Conv1d(channels, out, kernel, stride=2, padding=kernel // 2, bias=False), nn.BatchNorm1d(out), nn.ReLU()]
            channels = out
        self.features = nn.Sequential(*layers)  # (B, 1, L) -> (B, C, L / 16)
        flat = channels * -(-n_samples // 16)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(flat, 128), nn.ReLU(), nn.Linear(128, n_classes))

    def forward(self, signals: Tensor) -> Tensor:
        """Give the class scores: (B, L) -> (B, K)."""
        scores: Tensor = self.head(self.features(signals[:, None]))
        return scores


class BeatClassifier:
    """Learns the AAMI class of a beat from its waveform in mV.

    Every classifier of an evaluation takes the same number of steps, whatever the number of beats it
    learns from, so that no training set gains by its size alone.

    Parameters
    ----------
    steps : int
        Training steps.
    batch : int
        Beats a step, in the proportions of the training set.
    rate : float
        Highest learning rate of a one-cycle schedule.
    width : int
        Channels of the first layer.
    seed : int
        Same beats, seed and machine: same classifier.
    """

    def __init__(self, *, steps: int = 2000, batch: int = 128, rate: float = 2e-3, width: int = 32, seed: int = 0) -> None:
        self.steps = steps
        self.batch = batch
        self.rate = rate
        self.width = width
        self.seed = seed

    def fit(self, beats: Beats) -> Self:
        """Learn from labelled beats; see `fit_steps`."""
        for _ in self.fit_steps(beats):
            pass
        return self

    def fit_steps(self, beats: Beats) -> Iterator[float]:
        """Learn step by step; yields the share done.

        Raises
        ------
        EcgsynthError
            If there are fewer than two classes.
        """
        self.classes_ = tuple(beats.counts())
        if len(self.classes_) < 2:
            raise EcgsynthError(f"a classifier needs two classes or more; these beats are all {', '.join(self.classes_)}")
        signals = torch.from_numpy(beats.signals)
        labels = torch.tensor([self.classes_.index(name) for name in beats.classes.tolist()])
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # of the CPU alone, which is what is forked
            self._net = BeatNet(beats.n_samples, len(self.classes_), self.width)
        optimizer = torch.optim.AdamW(self._net.parameters(), self.rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=max(self.steps, 4))
        self._net.train()
        for step, index in zip(range(self.steps), _batches(len(beats), self.batch, generator), strict=False):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed * 1_000_003 + step)  # dropout reads no other
                loss = nn.functional.cross_entropy(self._net(signals[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield (step + 1) / self.steps
        self._net.eval()

    def predict(self, beats: Beats) -> NDArray[np.str_]:
        """Give the class of each beat: (n_beats,)."""
        with torch.no_grad():
            best = [self._net(part).argmax(dim=1) for part in torch.from_numpy(beats.signals).split(512)]
        return np.array(self.classes_)[torch.cat(best).numpy()]


def _batches(total: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Go through all beats in random order, again and again."""
    size = min(size, total)
    while True:
        order = torch.randperm(total, generator=generator)
        yield from order[: total - total % size].split(size)
