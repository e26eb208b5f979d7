"""Train ecgen's flow matching with its U-Net on labelled beats, and sample: TRAIN.npz MADE.npz --minutes M --seed S.

The settings are ecgen's own but for these: a narrower U-Net with one block a level, a higher learning rate, a shorter
warm-up and a shorter average of weights, as one core takes some thousand steps in the time and not some hundred
thousand; and fewer steps of the ODE, which is slow to sample from.
"""

import tempfile
import time
from typing import Any

import ecgen
import numpy as np
import torch
from ecgen.data.datasets.base import BaseECGDataset
from ecgen.training.runner import train
from exchange import BLOCK, CLASSES, arguments, load, sample

ODE_STEPS = 10  # Euler's; 50 by default


class BeatDataset(BaseECGDataset):
    """Beats of one lead, divided by their standard deviation; both splits that ecgen asks for are the same."""

    def __init__(self, path: str, split: str) -> None:
        signals, self.classes = load(path)
        self.lead_names, self.fs, self.seq_length = ["MLII"], 360, signals.shape[1]
        self.signals = torch.from_numpy(signals / signals.std())[:, None]

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Give one beat and its class."""
        return {"signal": self.signals[index], "cond": {"beat": torch.tensor(self.classes[index])}, "cond_missing": {}, "meta": {}}


def config(path: str, minutes: float, seed: int, folder: str) -> dict[str, Any]:
    """Set up ecgen's training, stopped by the clock."""
    encoder = {"field": "beat", "name": "categorical", "params": {"num_classes": len(CLASSES)}}
    model = {
        "in_channels": 1,
        "backbone": {"name": "unet1d", "params": {"base_channels": 32, "num_res_blocks": 1}},
        "conditioning": {"encoders": [encoder]},
        "lr": 1e-3,
        "warmup_steps": 100,
        "ema_decay": 0.99,
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    return {
        "experiment": {"name": "beats", "seed": seed, "runs_root": folder},
        "model": {"name": "flow_matching", "params": model},
        "data": {"dataset": {"target": "__main__.BeatDataset", "params": {"path": path}}, "num_workers": 0},
        "checkpoint": {"monitor": None, "save_last": False, "save_top_k": 0},
        "trainer": {"max_time": {"minutes": minutes}, "max_epochs": -1, "accelerator": "cpu", **quiet},
    }


def main() -> None:
    """Train, sample, and write the beats."""
    given = arguments("train", "made")
    signals, classes = load(given.train)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = train(config(str(given.train), given.minutes, given.seed, folder))
    minutes = (time.perf_counter() - begun) / 60
    torch.manual_seed(given.seed)

    def make(wanted: np.ndarray) -> np.ndarray:
        made = ecgen.sample(trainer.lightning_module, len(wanted), cond={"beat": wanted}, steps=ODE_STEPS, batch_size=BLOCK)
        return made[:, 0] * signals.std()

    made = sample(make, classes, given)
    np.savez(given.made, **made, minutes=minutes, steps=trainer.global_step)


if __name__ == "__main__":
    main()
