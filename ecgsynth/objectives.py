"""What critic and generator strive for, and what holds the critic back."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

# Shapes: B batch, D coordinates of a beat. Scores are (B,); real and generated beats of one row are of one cell.


class Objective(NamedTuple):
    """The loss of the critic and that of the generator, each of the scores (real, generated).

    Only a `relative` one's generator reads the scores of real beats.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    relative: bool = False


OBJECTIVES = {
    # The logarithmic loss of Goodfellow et al. 2014, doi:10.48550/arXiv.1406.2661, the generator's in its
    # form that does not saturate (their section 3); scores are logits.
    "log": Objective(
        critic=lambda real, generated: (softplus(-real) + softplus(generated)).mean(),
        generator=lambda real, generated: softplus(-generated).mean(),
    ),
    # Arjovsky, Chintala and Bottou 2017, doi:10.48550/arXiv.1701.07875; the critic must be held Lipschitz.
    "wasserstein": Objective(
        critic=lambda real, generated: (generated - real).mean(),
        generator=lambda real, generated: -generated.mean(),
    ),
    # Real and generated beats are scored against each other, so that no mode can be left out without
    # loss: Jolicoeur-Martineau 2018, doi:10.48550/arXiv.1807.00734; Huang et al. 2024 (R3GAN),
    # doi:10.48550/arXiv.2501.05441.
    "relativistic": Objective(
        critic=lambda real, generated: softplus(generated - real).mean(),
        generator=lambda real, generated: softplus(real - generated).mean(),
        relative=True,
    ),
    # Lim and Ye 2017, doi:10.48550/arXiv.1705.02894.
    "hinge": Objective(
        critic=lambda real, generated: (relu(1 - real) + relu(1 + generated)).mean(),
        generator=lambda real, generated: -generated.mean(),
    ),
}

REGULARISERS = ("none", "zero-centred", "gradient", "clip")
"""What holds a critic back: nothing, R1 and R2, the gradient penalty of WGAN-GP, or weight clipping."""


def zero_centred_penalty(scores: Tensor, beats: Tensor) -> Tensor:
    """Mean squared gradient of the critic at `beats`: R1 on real beats, R2 on generated ones.

    Parameters
    ----------
    scores : Tensor, shape (B,), or (B / m,) where m beats that follow each other are scored together
        The critic's scores of `beats`, with their graph.
    beats : Tensor, shape (B, D)
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
    return gradient.reshape(len(scores), -1).square().sum(dim=1).mean()


def gradient_penalty(
    score: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, random: torch.Generator, *, pack: int = 1
) -> Tensor:
    """Mean squared distance from 1 of the critic's gradient norm, between real and generated beats.

    Parameters
    ----------
    score : callable
        Beats (B, D) -> scores (B,), or (B / m,) where m beats that follow each other are scored together: on a line of theirs.
    real, generated : Tensor, shape (B, D)
        The ends of the lines on which a point each is drawn.
    random : torch.Generator
        Draws the points.
    pack : int
        m, beats scored together.

    Returns
    -------
    Tensor
        A scalar.

    References
    ----------
    Gulrajani I et al. Improved training of Wasserstein GANs (2017), doi:10.48550/arXiv.1704.00028.
    """
    share = torch.rand(len(real) // pack, 1, generator=random).to(real).repeat_interleave(pack, dim=0)
    between = (share * real + (1 - share) * generated).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    return (gradient.reshape(len(real) // pack, -1).norm(dim=1) - 1).square().mean()


@torch.no_grad()
def clip_weights(critic: nn.Module, bound: float) -> None:
    """Bring every weight of the critic into [-bound, bound]: Arjovsky et al. 2017, doi:10.48550/arXiv.1701.07875."""
    for parameter in critic.parameters():
        parameter.clamp_(-bound, bound)
