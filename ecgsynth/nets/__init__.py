"""Networks: maps between latents, beats and features; they know nothing of training.

A generator network maps ``(conditioned latent, draft) -> beat``, a critic network ``beats -> features``;
how what is told of a beat joins either is in `conditioning`. `NETWORKS` names the pairs.
"""

from collections.abc import Callable

from ecgsynth.nets.conditioning import CriticNetwork, GeneratorNetwork
from ecgsynth.nets.convolutional import ConvCritic, ConvGenerator, DcganCritic, DcganGenerator
from ecgsynth.nets.mlp import MlpCritic, MlpGenerator
from ecgsynth.nets.patches import (
    bilstm_generator,
    lstm_critic,
    lstm_generator,
    transformer_critic,
    transformer_generator,
)

NETWORKS: dict[str, tuple[Callable[..., GeneratorNetwork], Callable[..., CriticNetwork]]] = {
    "mlp": (MlpGenerator, MlpCritic),
    "convolutional": (ConvGenerator, ConvCritic),
    "mlp-convolutional": (MlpGenerator, ConvCritic),
    "dcgan": (DcganGenerator, DcganCritic),
    "lstm": (lstm_generator, lstm_critic),
    "bilstm-convolutional": (bilstm_generator, ConvCritic),
    "transformer": (transformer_generator, transformer_critic),
}

TAKES_DRAFTS = ("mlp", "convolutional", "mlp-convolutional")
"""The networks that can refine drafts."""
