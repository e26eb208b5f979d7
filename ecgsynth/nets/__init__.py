"""Networks: maps between latents, beats and features; they know nothing of training.

A generator network maps ``(conditioned latent, draft) -> beat``, a critic network ``beat -> features``;
how a label joins either is in `conditioning`. `NETWORKS` names the pairs.
"""

from ecgsynth.nets.convolutional import ConvCritic, ConvGenerator
from ecgsynth.nets.recurrent import RecurrentCritic, RecurrentGenerator

NETWORKS = {
    "convolutional": (ConvGenerator, ConvCritic),
    "recurrent": (RecurrentGenerator, RecurrentCritic),
}
