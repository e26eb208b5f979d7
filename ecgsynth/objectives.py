"""What critic and generator strive for, and what holds the critic back."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

# Shapes: B batch, L samples. Scores are (B,); real and generated beats of one row are of one class.


class Objective(NamedTuple):
    """The loss of the critic and that of the generator, each of the scores (real, generated)."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


OBJECTIVES = {
    # Real and generated beats are scored against each other, so that no mode can be left out without
    # loss: Jolicoeur-Martineau 2018, doi:10.48550/arXiv.1807.00734; Huang et al. 2024 (R3GAN),
    # doi:10.48550/arXiv.2501.05441.
    "relativistic": Objective(
        critic=lambda real, generated: softplus(generated - real).mean(),
        generator=lambda real, generated: softplus(real - generated).mean(),
    ),
    # Lim and Ye 2017, doi:10.48550/arXiv.1705.02894.
    "hinge": Objective(
        critic=lambda real, generated: (relu(1 - real) + relu(1 + generated)).mean(),
        generator=lambda real, generated: -generated.mean(),
    ),
}


def zero_centred_penalty(scores: Tensor, beats: Tensor) -> Tensor:
    """Mean squared gradient of the critic at `beats`: R1 on real beats, R2 on generated ones.

    Parameters
    ----------
    scores : Tensor, shape (B,)
        The critic's scores of `beats`, with their graph.
    beats : Tensor, shape (B, L)
        Requires gradients.

    Returns
    -------
    Tensor
        A scalar.

    References
    ----------
    Mescheder L, Geiger A, Nowozin S. Which training methods for GANs do actually converge? (2018),
    doi:10.48550/arXiv.1801.04406.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), beats, create_graph=True)
    return gradient.square().sum(dim=1).mean()
