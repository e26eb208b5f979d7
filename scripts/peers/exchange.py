"""What the scripts of the peers share: their command line, and the .npz files by which beats come and go.

They run in an environment that has the peer and not ecgsynth.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

CLASSES = np.array(list("NSVFQ"))
BLOCK = 256  # beats made at a time
PATIENCE = 3  # times as long as it trained may a peer sample


def arguments(*files: str) -> Namespace:
    """Read the command line: the files by name, minutes of training if they are of use, and the seed."""
    torch.set_num_threads(1)
    parser = ArgumentParser()
    for name in files:
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give waveforms in mV, and of each the number of its class: (n, 256), (n,)."""
    with np.load(path, allow_pickle=False) as file:
        return file["signals"], (file["classes"][:, None] == CLASSES).argmax(axis=1)


def sample(make: Callable[[np.ndarray], np.ndarray], classes: np.ndarray, given: Namespace) -> dict[str, np.ndarray]:
    """Make as many beats of each class as `classes` has, or, if that takes too long, those that are made in time.

    Classes come in random order, each once at the start, so that what is there in time has natural proportions.
    """
    classes = np.random.default_rng(given.seed).permutation(classes)
    first = np.unique(classes, return_index=True)[1]
    classes = np.concatenate([classes[first], np.delete(classes, first)])
    made: list[np.ndarray] = []
    begun = time.perf_counter()
    for start in range(0, len(classes), BLOCK):
        made.append(make(classes[start : start + BLOCK]))
        if time.perf_counter() - begun > PATIENCE * 60 * given.minutes:
            break
    signals = np.concatenate(made).astype(np.float32)
    speed = np.array(len(signals) / (time.perf_counter() - begun))
    return {"signals": signals, "classes": CLASSES[classes[: len(signals)]], "speed": speed}
