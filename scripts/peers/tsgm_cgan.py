"""Train tsgm's conditional GAN on labelled beats, and sample: TRAIN.npz MADE.npz --minutes M --seed S.

Set up as in tsgm's README, but with its LSTM networks: the convolutional ones of the README end in an LSTM over
sixteen times as many samples, of which one core trains four batches a minute.
"""

import os
import time

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
import tsgm
from exchange import CLASSES, arguments, load, sample
from torch.utils.data import DataLoader, TensorDataset

LATENT = 64
BATCH = 64


class StopAfter(keras.callbacks.Callback):
    """Stop training after so many minutes."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.end = time.perf_counter() + 60 * minutes
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count the step, and look at the clock."""
        self.steps += 1
        self.model.stop_training = time.perf_counter() > self.end


def main() -> None:
    """Train, sample, and write the beats."""
    given = arguments("train", "made")
    keras.utils.set_random_seed(given.seed)
    signals, classes = load(given.train)
    scaler = tsgm.utils.TSFeatureWiseScaler((-1, 1))
    scaled = scaler.fit_transform(signals[:, :, None].astype(np.float64)).astype(np.float32)
    labels = np.eye(len(CLASSES), dtype=np.float32)
    networks = tsgm.models.architectures.zoo["cgan_lstm_n"](
        seq_len=signals.shape[1], feat_dim=1, latent_dim=LATENT, output_dim=len(CLASSES)
    )
    gan = tsgm.models.cgan.ConditionalGAN(networks.discriminator, networks.generator, latent_dim=LATENT)
    gan.compile(
        d_optimizer=keras.optimizers.Adam(3e-4),
        g_optimizer=keras.optimizers.Adam(3e-4),
        loss_fn=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    data = TensorDataset(torch.from_numpy(scaled), torch.from_numpy(labels[classes]))
    begun = time.perf_counter()
    clock = StopAfter(given.minutes)
    gan.fit(DataLoader(data, batch_size=BATCH, shuffle=True), epochs=10**6, callbacks=[clock], verbose=0)
    minutes = (time.perf_counter() - begun) / 60

    def make(wanted: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            made = gan.generate(labels[wanted])
        return scaler.inverse_transform(made.cpu().numpy().astype(np.float64))[:, :, 0]

    made = sample(make, classes, given)
    np.savez(given.made, **made, minutes=minutes, steps=clock.steps)


if __name__ == "__main__":
    main()
