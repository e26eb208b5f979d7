"""What is kept of a training: the weights with the best score, and a state to go back to when it goes wrong."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ecgsynth.errors import EcgsynthError
from ecgsynth.training import DivergenceError, Trainer
from ecgsynth.untrusted import conform

_TURNS = 4  # how often a training goes back before it is given up
_SLOWER = 0.25  # what learning rates are multiplied by each time
_CHANCE = 0.01  # scores closer than this are alike, and the later weights are kept: those of `flow` stray by 0.007 while it hardly changes
_FORM = {"best": float, "kept": object, "good": object, "lively": bool, "alike": [str], "notes": [str]}


class Keeper:
    """What is kept of a training.

    Parameters
    ----------
    trainer : Trainer
        Whose training it is.
    anew : callable
        Sets up the same training from the beginning.

    Attributes
    ----------
    kept : dict of str to Tensor or None
        The weights with the best score so far, or the last of those whose scores are alike.
    notes : list of str
        What went wrong, and what was done about it.
    """

    def __init__(self, trainer: Trainer, anew: Callable[[], Trainer]) -> None:
        self._trainer, self._anew = trainer, anew
        self._best = -1.0
        self._good: dict[str, Any] | None = None
        self._lively = False  # whether beats have ever been different from each other
        self._alike: list[str] = []
        self.kept: dict[str, Tensor] | None = None
        self.notes: list[str] = []

    def judge(self, score: float | None, alike: list[str]) -> bool:
        """Keep the weights if they are as good as any before; says whether they are.

        Parameters
        ----------
        score : float or None
            Of the weights; None keeps them.
        alike : list of str
            Labels whose new beats are all alike.

        Raises
        ------
        DivergenceError
            If such beats were different from each other before.
        """
        if alike and self._lively:
            raise DivergenceError(f"new beats of {', '.join(alike)} are all alike after {self._trainer.step} steps")
        self._lively = self._lively or not alike
        best = score is None or score > self._best - _CHANCE
        self._best = self._best if score is None else max(self._best, score)
        if best:
            self.kept = {key: value.clone() for key, value in self._trainer.average.state_dict().items()}
            self._alike = alike
        return best

    def remember(self) -> None:
        """Remember that all is well now."""
        if self._trainer.may_go_back:
            self._good = copy.deepcopy(self._trainer.state_dict())

    def go_back(self, fault: DivergenceError) -> None:
        """Go back to when all was well, at a lower rate; to the very beginning if all has not been well since the last time.

        Raises
        ------
        EcgsynthError
            If that was done often enough, or steps may not be taken again.
        """
        trainer, turn = self._trainer, len(self.notes) + 1
        if turn > _TURNS or not trainer.may_go_back:
            tried = f", as it did {_TURNS} times before at higher rates" if trainer.may_go_back else ""
            rate = trainer.recipe.rate * trainer.slowed
            raise EcgsynthError(
                f"training diverged{tried}: {fault}. Nothing is saved: begin anew at a lower rate (it was {rate:.2g}), or look for beats "
                "with values out of all bounds"
            ) from fault
        if self._good is None:
            self._good, self._lively = self._anew().state_dict(), False
        state, self._good = self._good, None
        trainer.go_back(state, slowed=_SLOWER**turn, turn=turn)
        self.notes.append(f"{fault}: back to step {trainer.step}, and on at {trainer.slowed:.2g} of the rate")

    def end(self) -> None:
        """Say what is wrong with the weights that were kept."""
        if self._alike:
            self.notes.append(f"new beats of {', '.join(self._alike)} are all alike: train longer, at another rate, or another generator")

    def state_dict(self) -> dict[str, Any]:
        """Give all that is kept."""
        return {
            "best": self._best,
            "kept": self.kept,
            "good": self._good,
            "lively": self._lively,
            "alike": self._alike,
            "notes": self.notes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, if weights and states in it are of this training; the trainer is left in any."""
        told = conform(state, _FORM)
        self._best, self.kept, self._good = told["best"], told["kept"], told["good"]
        self._lively, self._alike, self.notes = told["lively"], told["alike"], told["notes"]
        if self.kept is not None:
            copy.deepcopy(self._trainer.average).load_state_dict(self.kept)
        if self._good is not None:
            self._trainer.load_state_dict(self._good)
