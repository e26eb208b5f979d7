"""Training of networks, one step at a time: budget, batches, averaged weights and checkpoints, whatever the loss."""

import copy
import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ecgsynth.checkpoints import read_checkpoint, write_checkpoint
from ecgsynth.devices import CPU
from ecgsynth.distributed import mean_of, n_processes
from ecgsynth.errors import EcgsynthError
from ecgsynth.untrusted import conform, is_above_0, is_count

# Shapes: B batch, P coordinates of a beat, K cells.

_FORM = {"step": is_count, "seconds": (is_above_0, lambda seconds: seconds == 0), "slowed": is_above_0}
_REMEMBERED = {torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"}, torch.optim.RMSprop: {"step", "square_avg"}}


@dataclass(frozen=True)
class Recipe:
    """The numbers of every training.

    Parameters
    ----------
    steps : int
        Training steps: the budget that gives the same model again.
    minutes : float or None
        Stop after so many minutes of training if `steps` are not done by then.
    batch : int
        Beats a step.
    rate : float
        Highest learning rate.
    ema : float
        How much of the averaged weights stays each step: Yazıcı Y et al. (2019), doi:10.48550/arXiv.1806.04498.
    class_power : float
        Labels are drawn in proportion to their count to this power: 1 natural, 0 equal; between them as in Mikolov T et al.
        (2013), doi:10.48550/arXiv.1310.4546.
    group : int
        Beats of a batch that come in a row from one cell.
    """

    steps: int
    minutes: float | None
    batch: int
    rate: float
    ema: float
    class_power: float
    group: int = 1


@dataclass(frozen=True)
class Losses:
    """What one step gave; a training without a critic has no loss of it."""

    generator_loss: float
    critic_loss: float | None = None
    score_gap: float | None = None


class Windows(NamedTuple):
    """Beats that are learnt from after one another: how many steps each, and what gives coordinates and cells of one by its number."""

    every: int
    give: Callable[[int], tuple[Tensor, Tensor]]


class DivergenceError(EcgsynthError):
    """A training has come to what it cannot go on with: losses, weights or beats that are no numbers, or beats that are all alike."""


class Trainer(ABC):
    """A network that learns to make beats; what is learnt in a step is left to subclasses.

    Parameters
    ----------
    generator : nn.Module
        What is trained, and averaged over recent steps.
    codes : Tensor, shape (n, P)
        Training beats.
    cells : Tensor, shape (n,)
        What the generator is told of each.
    recipe : Recipe
        The numbers.
    seed : int
        Of batches and noise; the global random state is not touched. Both are drawn by the processor, so that they are the same
        wherever the networks compute.
    device : torch.device
        Where they do.

    Attributes
    ----------
    average : nn.Module
        The generator with its weights averaged over recent steps: the one to sample from.
    step, seconds : int, float
        Done so far.
    slowed : float
        What all learning rates are multiplied by: less than 1 after the training went wrong.
    """

    may_go_back: ClassVar[bool] = True
    """Whether steps may be taken again, which differential privacy does not allow."""
    may_share: ClassVar[bool] = False
    """Whether several processes may learn together, each from its share of a batch."""

    def __init__(
        self, *, generator: nn.Module, codes: Tensor, cells: Tensor, recipe: Recipe, seed: int, device: torch.device = CPU
    ) -> None:
        if n_processes() > 1 and not (self.may_share and recipe.batch % n_processes() == 0 and recipe.minutes is None):
            raise EcgsynthError(
                "several processes train flow, ddpm and vae together, by steps, in batches that they can share: others train in one, "
                "without torchrun"
            )
        self.generator = generator.to(device)
        self.device = device
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self._averaged = list(zip(self.average.parameters(), self.generator.parameters(), strict=True))
        self.recipe = recipe
        self.step = 0
        self.seconds = 0.0
        self.slowed = 1.0
        self._seed = seed
        self._take(codes, cells, int(cells.max()) + 1)
        self._cell_weights = torch.tensor([float(len(members)) for members in self._members]) ** recipe.class_power
        self._windows: Windows | None = None
        self._window = 0
        self._random = torch.Generator().manual_seed(seed)

    def advance(self) -> Losses:
        """Take one step.

        Raises
        ------
        DivergenceError
            If a loss is not a number.
        """
        begun = time.monotonic()
        if self._windows and self._window != (number := self.step // self._windows.every):
            self.take(*self._windows.give(number))
            self._window = number
        for optimizer in self._optimizers().values():
            for group in optimizer.param_groups:
                group["lr"] = self._rate() * self.slowed * group.get("pace", 1.0)
        losses = self._update(*self._draw_batch())
        self._update_average()
        self.step += 1
        self.seconds += time.monotonic() - begun
        if not all(loss is None or math.isfinite(loss) for loss in (losses.generator_loss, losses.critic_loss)):
            raise DivergenceError(f"a loss is not a number after {self.step} steps")
        return losses

    def follow(self, windows: "Windows") -> None:
        """Learn from other beats every some steps, where not all fit into memory."""
        self._windows = windows

    def take(self, codes: Tensor, cells: Tensor) -> None:
        """Learn from these beats from now on; labels are drawn as often as before."""
        self._take(codes, cells, len(self._members))

    def _take(self, codes: Tensor, cells: Tensor, n_cells: int) -> None:
        self._codes = codes
        self._members = [torch.nonzero(cells == cell).squeeze(1) for cell in range(n_cells)]

    def check_weights(self) -> None:
        """Make sure that all weights are numbers, those of the average also when stored in half precision.

        Raises
        ------
        DivergenceError
            If one is not.
        """
        for name, part in self._parts().items():
            for value in part.state_dict().values() if isinstance(part, nn.Module) else ():
                if value.is_floating_point() and not (value.half() if name == "average" else value).isfinite().all():
                    raise DivergenceError(f"a weight is not a number, or too large, after {self.step} steps")

    @property
    def ready(self) -> bool:
        """Whether the generator has begun to learn, so that its beats may be judged."""
        return True

    @property
    def drawn(self) -> int:
        """How many real beats were learnt from, each as often as it was."""
        return self.step * self.recipe.batch

    @property
    def share(self) -> float:
        """How much of the budget is used, in steps or in minutes, whichever is further."""
        by_time = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(self.step / self.recipe.steps, by_time))

    def save(self, path: Path, identity: str, extra: dict[str, Any]) -> None:
        """Write everything needed to go on as if never stopped, and of which training it is."""
        write_checkpoint(path, self.state_dict() | {"identity": identity, "extra": extra})

    @contextmanager
    def restore(self, path: Path, identity: str) -> Iterator[dict[str, Any]]:
        """Give the `extra` of what `save` wrote, and go on from there when the block ends; what fails in it is the file's fault."""
        try:
            state = read_checkpoint(path)
            if state["identity"] != identity:
                raise EcgsynthError(
                    f"{path} is of a training with other beats or settings, or another version: use those, or delete it to begin anew"
                )
            yield state["extra"]
            self.load_state_dict(state)
        except EcgsynthError:
            raise
        except Exception as error:  # safetensors and torch raise whatever the damage leads to
            raise EcgsynthError(f"{path} does not fit this training, or is damaged; delete it to begin anew") from error

    def state_dict(self) -> dict[str, Any]:
        """Give all that this training has come to."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {"step": self.step, "seconds": self.seconds, "slowed": self.slowed, "random": self._random.get_state()}

    def digest(self) -> bytes:
        """Give the SHA-256 of the step and of the weights that are trained."""
        digest = hashlib.sha256(str(self.step).encode())
        for value in self.generator.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.digest()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name, part in self._parts().items():
            is_optimizer = isinstance(part, torch.optim.Optimizer)
            part.load_state_dict(_remembering(part, state[name]["state"]) if is_optimizer else state[name])
        done = conform(state, _FORM)
        self.step, self.seconds, self.slowed = done["step"], done["seconds"], done["slowed"]
        self._random.set_state(state["random"])

    def go_back(self, state: dict[str, Any], *, slowed: float, turn: int) -> None:
        """Go back to an earlier state, and on from there at a lower rate and with other batches; the time taken is not given back.

        Parameters
        ----------
        state : dict
            Of `state_dict`.
        slowed : float
            What learning rates are multiplied by from now on.
        turn : int
            Which going back this is: batches are others each time.
        """
        seconds = self.seconds
        self.load_state_dict(state)
        self.seconds, self.slowed = seconds, slowed
        self._random.manual_seed(self._seed + turn)

    @abstractmethod
    def _update(self, real: Tensor, cells: Tensor) -> Losses:
        """Learn from one batch: (B, P), (B,)."""

    @abstractmethod
    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Give every optimizer by a name."""

    @abstractmethod
    def _rate(self) -> float:
        """Give the learning rate of this step."""

    def _parts(self) -> dict[str, Any]:
        return {"generator": self.generator, "average": self.average, **self._optimizers()}

    def _draw_batch(self) -> tuple[Tensor, Tensor]:
        group = min(self.recipe.group, self.recipe.batch)
        there = torch.tensor([float(len(members) > 0) for members in self._members])
        drawn = torch.multinomial(self._cell_weights * there, self.recipe.batch // group, replacement=True, generator=self._random)
        cells = drawn.repeat_interleave(group)
        chance = torch.rand(len(cells), generator=self._random)
        index = torch.empty(len(cells), dtype=torch.long)
        for cell in drawn.unique().tolist():
            own = cells == cell
            members = self._members[cell]
            index[own] = members[(chance[own] * len(members)).long().clamp_(max=len(members) - 1)]
        return self._codes[index], cells

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema, 1 - 1 / (1 + self.step / 10))  # a short memory while all is new
        for mean, parameter in self._averaged:
            mean.lerp_(parameter, 1 - decay)
        for kept, buffer in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            if buffer.is_floating_point():
                kept.lerp_(buffer, 1 - decay)  # statistics of batch normalisation belong to the weights beside them
            else:
                kept.copy_(buffer)


class _Lesson(nn.Module):
    """A loss as a network, so that its gradient can be shared."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor], random: torch.Generator) -> None:
        super().__init__()
        self.model, self._loss, self._random = model, loss, random

    def forward(self, real: Tensor, cells: Tensor) -> Tensor:
        return self._loss(self.model, real, cells, self._random)


class LossTrainer(Trainer):
    """Training that brings one loss down.

    Parameters
    ----------
    loss : callable
        (generator, real, cells, random) -> scalar Tensor, the mean over the share of the batch that this process has
        (`ecgsynth.distributed.own_of`); all its randomness is drawn from `random`, for the whole batch. What it is given is on the
        processor.
    model : nn.Module, optional
        What has the weights of the loss, where that is more than the generator.
    """

    may_share = True

    def __init__(
        self, *, loss: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor], model: nn.Module | None = None, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self._model = (model if model is not None else self.generator).to(self.device)
        lesson = _Lesson(self._model, loss, self._random)
        self._lesson: nn.Module = DistributedDataParallel(lesson) if n_processes() > 1 else lesson
        self._optimizer = torch.optim.Adam(self._model.parameters(), self.recipe.rate, betas=(0.9, 0.99), fused=True)

    def _update(self, real: Tensor, cells: Tensor) -> Losses:
        loss = self._lesson(real, cells)
        descend(self._optimizer, loss)
        return Losses(mean_of(loss.item()))

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self._optimizer}

    def _parts(self) -> dict[str, Any]:
        return super()._parts() | {"model": self._model}

    def _rate(self) -> float:
        """Rise over the first 200 steps, then fall along a half cosine."""
        return self.recipe.rate * min(1.0, (self.step + 1) / 200) * max(1e-3, 0.5 * (1 + math.cos(math.pi * self.share)))


def _remembering(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Give an optimizer's own settings, with what another remembered of each parameter, if that can be."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, memory in state.items():
        shapes = {value.shape for name, value in memory.items() if name != "step"}
        if memory.keys() != _REMEMBERED[type(optimizer)] or shapes != {parameters[number].shape} or not 1 <= memory["step"].item() < 2**53:
            raise ValueError("what its optimizer remembers is of another network")
    return optimizer.state_dict() | {"state": state}


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step down the gradient of `loss`."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
