"""Flow matching on beats that are nobody's alone."""

from collections.abc import Generator as Steps
from dataclasses import dataclass
from pathlib import Path

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.flow import Flow
from ecgsynth.generators.history import TrainingStep
from ecgsynth.mixing import means_across


@dataclass(kw_only=True, eq=False)
class GroupFlow(Flow):
    """Flow matching on means of beats of several patients, so that no beat that is learnt from has the shape of one of them.

    Parameters
    ----------
    across : int
        Of how many patients each beat that is learnt from is the mean, `ecgsynth.mixing.means_across`, which see for the idea and its
        source; a label that has fewer cannot be learnt.
    rest
        As for `ecgsynth.generators.flow.Flow`.

    Notes
    -----
    The more patients, the less a beat tells of any, and the less various beats are. How many beats of each label there were, and
    what real beats weights were chosen by where that is asked for, is known to the model as to any other.
    """

    name: str = "group-flow"
    across: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.across < 2 or self.style:
            raise EcgsynthError("across must be at least 2, and style 0: means of several patients have nobody's")

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        if self._whole is not None:
            raise EcgsynthError("means are taken across all patients, whose beats must fit into memory: take fewer")
        yield from super()._fit_steps(means_across(train, self.across, by=self.by, seed=self.seed), validation, checkpoint)
