"""Flow matching and diffusion: a network learns to lead noise to beats in many small steps."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor, nn

from ecgsynth.beats import Beats
from ecgsynth.devices import CPU
from ecgsynth.distributed import own_of
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Arrays, Cells
from ecgsynth.generators.modes import Blend, find_modes, find_styles, nearest_modes
from ecgsynth.generators.trained import TrainedGenerator
from ecgsynth.nets.denoiser import Denoiser, GuidedDenoiser, tabled
from ecgsynth.training import LossTrainer, Recipe, Trainer
from ecgsynth.vectors import Vectors

# Shapes: B batch, P coordinates of a beat.

DDPM_STEPS = 1000
_BETAS = (1e-4, 0.02)
_ORDER = 3  # of the method by which a velocity is followed
_CROWDING = 1.5  # its steps crowd at the noise, where paths bend most: even ones to this power
_WEAKER = 4  # times narrower is the network that the other is guided by
_PATIENTS = 2**24  # that can be made: the streams of random numbers of all and of their labels have numbers of 32 bits
_LABELS = 64  # streams of a patient
_BLUR = 0.5  # spread of the noise on styles while learning, where patients lie 1 apart


class Path(NamedTuple):
    """How noise and beat are mixed, what the network learns of them, and how it is followed back.

    Parameters
    ----------
    times : callable
        (count, random) -> times of a batch, 0 to 1.
    target : callable
        (beats, noise, times) -> (mixed, what the network is to answer).
    follow : callable
        (network of (mixed, times), noise, steps, random) -> beats.
    """

    times: Callable[[int, torch.Generator], Tensor]
    target: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    follow: Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, int, torch.Generator], Tensor]


def _straight(beats: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    share = time[:, None]
    return (1 - share) * noise + share * beats, beats - noise


def _adams_bashforth(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int, random: torch.Generator) -> Tensor:
    """Follow the velocity from time 0 to 1, asking it once a step: its parabola through the last three answers is followed on."""
    known: list[Tensor] = []
    for now, shares in _links(steps):
        known = [velocity(x, x.new_full((len(x),), now)), *known][:_ORDER]
        for share, slope in zip(shares, known, strict=True):
            x = x + share * slope
    return x


@cache
def _links(steps: int) -> list[tuple[float, list[float]]]:
    """Give when each step begins, and how far it goes by the velocity then and at the steps before: integrals of Lagrange's polynomials."""
    times = (np.linspace(0, 1, steps + 1) ** _CROWDING).tolist()
    links = []
    for number, (now, then) in enumerate(pairwise(times)):
        known = times[max(0, number + 1 - _ORDER) : number + 1][::-1]
        parts = [math.prod((Polynomial([-time, 1]) / (at - time) for time in known if time != at), start=Polynomial([1])) for at in known]
        links.append((now, [float(part.integ()(then) - part.integ()(now)) for part in parts]))
    return links


def _kept_signal() -> Tensor:
    """Give the share of the beat's variance left after each of the steps of Ho et al.: (DDPM_STEPS,)."""
    return torch.cumprod(1 - torch.linspace(*_BETAS, DDPM_STEPS, dtype=torch.float64), dim=0).float()


def _diffused(beats: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    kept = _kept_signal()[(time * DDPM_STEPS).round().long()][:, None]
    return kept.sqrt() * beats + (1 - kept).sqrt() * noise, noise


def _ancestral(noise_of: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int, random: torch.Generator) -> Tensor:
    """Go back through the chain, on `steps` of its links evenly chosen."""
    places = torch.linspace(DDPM_STEPS - 1, 0, steps).long().tolist()
    kept = _kept_signal()
    for place, before in zip(places, [*places[1:], -1], strict=True):
        now, then = kept[place], kept[before] if before >= 0 else torch.tensor(1.0)
        noise = noise_of(x, x.new_full((len(x),), place / DDPM_STEPS))
        beats = (x - (1 - now).sqrt() * noise) / now.sqrt()
        beta = 1 - now / then
        mean = then.sqrt() * beta / (1 - now) * beats + (now / then).sqrt() * (1 - then) / (1 - now) * x
        x = mean + (beta * (1 - then) / (1 - now)).sqrt() * torch.randn(x.shape, generator=random)
    return x


PATHS = {
    # Lipman et al. 2023, doi:10.48550/arXiv.2210.02747, with the straight path of Liu et al. 2023,
    # doi:10.48550/arXiv.2209.03003.
    "straight": Path(lambda count, random: torch.rand(count, generator=random), _straight, _adams_bashforth),
    # Ho, Jain and Abbeel 2020, doi:10.48550/arXiv.2006.11239; sampled on fewer links as in Nichol and
    # Dhariwal 2021, doi:10.48550/arXiv.2102.09672.
    "diffusion": Path(lambda count, random: torch.randint(DDPM_STEPS, (count,), generator=random) / DDPM_STEPS, _diffused, _ancestral),
}


@dataclass(kw_only=True, eq=False)
class Flow(TrainedGenerator):
    """Flow matching, or diffusion, on principal components of beats and their rhythm.

    Parameters
    ----------
    name : str
        Under which it stands in `GENERATORS`.
    path : str
        ``"straight"`` for flow matching, ``"diffusion"`` for the noise schedule and ancestral sampling of
        DDPM.
    sampling_steps : int
        Steps from noise to beat, each of which asks the network once: of the Adams-Bashforth method of third
        order, or links of the diffusion chain.
    hidden, depth : int
        Width and number of the network's blocks.
    style : int
        Numbers that tell the network of a patient's style, that is the usual shape of its beats; 0 tells
        nothing. Every beat is then of a patient drawn anew, or all of one (`of_patient`).
    mode_size : int
        Training beats of a mode: those of each label and lead are divided into clusters of about so many,
        and the network is told the cluster, too; 0 does not divide them, nor does a model with styles. New
        beats are of a mode as often as training beats are.
    guidance : float
        How far beats are led away from what a narrower network would make of the same noise: 1 not at
        all; more makes beats that are more typical of their label.
    blend : float
        How much of each beat that is learnt from comes of another beat of its mode, `ecgsynth.generators.modes.Blend`:
        0 nothing, up to 0.7. With none, some beats of rare labels come out nearer to training beats than fresh real beats
        lie. A model with styles blends nothing.
    precision : str
        ``"bfloat16"`` halves the time of training and sampling where the processor computes with it,
        ``"float32"`` is for others; ``"auto"`` looks.
    steps, minutes, batch, rate, ema, class_power, space, components, whitening, validations, seed
        As for `ecgsynth.generators.gan.Gan`; the learning rate falls along a half cosine.

    Notes
    -----
    Deviations: the network works on principal components and is fully connected, not convolutional: two
    cores train it in minutes. Weights are averaged over steps, and rare labels drawn more often.

    Styles are principal components of the mean beats of the training patients, blurred by noise while
    learning; new ones are drawn from the normal distribution, and none of a real patient is stored.

    References
    ----------
    Modes: Hu V et al. Self-guided diffusion models (2023), doi:10.48550/arXiv.2210.06462, where clusters
    stand in for labels; here they divide labels. Guidance: see `ecgsynth.nets.denoiser.GuidedDenoiser`.
    """

    name: str = "flow"
    path: str = "straight"
    sampling_steps: int = 8
    hidden: int = 512
    depth: int = 4
    style: int = 0
    mode_size: int = 300
    guidance: float = 1.3
    blend: float = 0.15
    precision: str = "auto"
    steps: int = 20_000
    batch: int = 512
    rate: float = 2e-3
    ema: float = 0.9995
    class_power: float = 0.75
    whitening: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._patient: int | None = None
        if self.path not in PATHS:
            raise EcgsynthError(f"unknown path {self.path!r}; known: {', '.join(PATHS)}")
        if self.precision not in ("auto", "bfloat16", "float32"):
            raise EcgsynthError(f"unknown precision {self.precision!r}; known: auto, bfloat16, float32")
        if min(self.sampling_steps, self.hidden, self.depth) < 1 or self.style < 0 or self.sampling_steps > DDPM_STEPS:
            raise EcgsynthError(f"sampling_steps, hidden and depth must be positive, sampling_steps at most {DDPM_STEPS}")
        if self.guidance < 1 or not 0 <= self.blend <= 0.7:
            raise EcgsynthError("guidance must be at least 1, and blend from 0 to 0.7")

    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> Trainer:
        path, blend, device = PATHS[self.path], self._blend(codes), self._device

        def loss(network: nn.Module, columns: Tensor, told: Tensor, random: torch.Generator) -> Tensor:
            real, style, mode = columns.split([self._space.size, self.style, 1], dim=1)
            real = blend(real, mode[:, 0].long(), random)
            style = (style + _BLUR * torch.randn(style.shape, generator=random)) / (1 + _BLUR**2) ** 0.5
            time = path.times(len(real), random)
            mixed, target = path.target(real, torch.randn(real.shape, generator=random), time)
            own = own_of(len(real))
            mixed, target, time, mode, style = (part[own].to(device) for part in (mixed, target, time, mode, style))
            players = network.children() if isinstance(network, GuidedDenoiser) else [network]
            answers = torch.stack([self._answer(player, mixed, time, mode[:, 0].long(), style) for player in players])
            return (answers - target).square().mean(dim=(1, 2)).sum()

        return LossTrainer(loss=loss, generator=self._new_flow(), codes=codes, cells=cells, recipe=recipe, seed=self.seed, device=device)

    def _blend(self, codes: Tensor) -> Blend:
        return Blend(codes[:, : self._space.size], codes[:, -1].long(), 0.0 if self.style else self.blend)

    def _new_network(self) -> nn.Module:
        return self._new_flow()

    def _new_flow(self) -> Denoiser | GuidedDenoiser:
        strong = self._new_denoiser(self.hidden)
        return strong if self.guidance == 1 else GuidedDenoiser(strong, self._new_denoiser(max(1, self.hidden // _WEAKER)), self.guidance)

    def _new_denoiser(self, hidden: int) -> Denoiser:
        return Denoiser(self._space.size, self._modes.shape[1], n_style=self.style, hidden=hidden, depth=self.depth)

    def _make(self, network: nn.Module, cells: Tensor, random: torch.Generator) -> Tensor:
        noise = torch.randn(len(cells), self._space.size, generator=random)
        style = torch.randn(len(cells), self.style, generator=random)
        if self._patient is not None:
            style = torch.randn(1, self.style, generator=torch.Generator().manual_seed(self._patient)).expand(len(cells), -1)
        mode = self._draw_modes(cells, random)
        return PATHS[self.path].follow(lambda x, time: self._answer(network, x, time, mode, style), noise, self.sampling_steps, random)

    def _draw_modes(self, cells: Tensor, random: torch.Generator) -> Tensor:
        ladder = torch.from_numpy(self._modes).double().cumsum(dim=1)
        chance = torch.rand(len(cells), 1, generator=random, dtype=torch.float64)
        return torch.searchsorted((ladder / ladder[:, -1:])[cells], chance, right=True)[:, 0]

    def _for_sampling(self, network: nn.Module) -> nn.Module:
        network = copy.deepcopy(network)
        if self._uses_bfloat16(CPU):
            for part in network.modules():
                if isinstance(part, nn.Linear):  # as it would be at every call
                    part.bfloat16()
        return network if self.style else tabled(network)

    def of_patient(self, number: int) -> Self:
        """Give this model bound to one synthetic patient: all its beats have one style.

        Parameters
        ----------
        number : int
            Which: same number, same patient.

        Returns
        -------
        Flow
            A model that shares everything else with this one.

        Raises
        ------
        EcgsynthError
            If the model was trained without styles, or there is no such number.
        """
        if not self.style:
            raise EcgsynthError("this model knows no patients: train flow with style=8, or so")
        if not 0 <= number < _PATIENTS:
            raise EcgsynthError(f"patients are numbered from 0, below {_PATIENTS:,}")
        bound = copy.copy(self)
        bound._patient = number
        return bound

    def _stream_of(self, label: str) -> int:
        return super()._stream_of(label) + (0 if self._patient is None else _LABELS * (self._patient + 1))

    def _to_beats(self, vectors: Vectors, cells: Cells, numbers: Cells, seed: int) -> Beats:
        made = super()._to_beats(vectors, cells, numbers, seed)
        return made if self._patient is None else replace(made, info={**made.info, "patient": self._patient})

    def _prepare(self, train: Beats, codes: Vectors, cells: Cells) -> Vectors:
        if self.style and self._whole is not None:
            raise EcgsynthError("a model with styles is told of all patients, whose beats must fit into memory: take fewer, or style=0")
        modes = find_modes(codes, cells, 0 if self.style else self.mode_size, self.seed)  # modes would tell of the patient, too
        self._modes = np.zeros((len(self.cells), modes.max() + 1), dtype=np.float32)
        np.add.at(self._modes, (cells, modes), 1)
        styles = find_styles(train, codes, self.style) if self.style else np.zeros((len(codes), 0), dtype=np.float32)
        return np.concatenate([codes, styles, modes[:, None]], axis=1, dtype=np.float32)

    def _tell(self, codes: Vectors, cells: Cells, known: Vectors, known_cells: Cells) -> Vectors:
        modes = nearest_modes(codes, cells, known[:, : codes.shape[1]], known_cells, known[:, -1].astype(np.int64))
        return np.concatenate([codes, modes[:, None]], axis=1, dtype=np.float32)

    def _arrays(self) -> Arrays:
        return super()._arrays() | {"modes": self._modes}

    def _restore(self, arrays: Arrays) -> None:
        self._modes = arrays["modes"]
        super()._restore(arrays)

    def _answer(self, network: nn.Module, mixed: Tensor, time: Tensor, mode: Tensor, style: Tensor) -> Tensor:
        with self._in_precision(mixed.device):
            answer: Tensor = network(mixed, time, mode, style)
        return answer.float()

    def _uses_bfloat16(self, device: torch.device) -> bool:
        return self.precision == "bfloat16" or (self.precision == "auto" and _has_bfloat16(device))

    def _in_precision(self, device: torch.device) -> torch.autocast:
        # The cache would outlive a change of the weights.
        return torch.autocast(device.type, torch.bfloat16, enabled=self._uses_bfloat16(device), cache_enabled=False)


def _has_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies bfloat16 numbers itself; elsewhere they are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
