"""Generators by name; the command line, the docs and the common tests read this one list."""

import inspect
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError
from ecgsynth.files import read_tensors
from ecgsynth.generators.base import Generator
from ecgsynth.generators.cells import without_rare
from ecgsynth.generators.flow import Flow
from ecgsynth.generators.flow_gan import FlowGan
from ecgsynth.generators.gan import Gan
from ecgsynth.generators.group_flow import GroupFlow
from ecgsynth.generators.history import TrainingStep, fall_of
from ecgsynth.generators.mechanistic import Ecgsyn
from ecgsynth.generators.private_flow import PrivateFlow
from ecgsynth.generators.private_gan import PrivateGan
from ecgsynth.generators.requests import Request, class_counts
from ecgsynth.generators.resampling import Adasyn, Memorizer, Smote
from ecgsynth.generators.statistics import ClassMean, Gaussian
from ecgsynth.generators.streaming import sample_stored_steps
from ecgsynth.generators.vae import Vae
from ecgsynth.models import shipped
from ecgsynth.places import place

_WGAN_GP: dict[str, Any] = {"objective": "wasserstein", "regulariser": "gradient", "penalty": 10.0, "critic_steps": 5, "beta": 0.0}

GENERATORS: dict[str, Callable[..., Generator]] = {
    # Goodfellow et al. 2014, doi:10.48550/arXiv.1406.2661: unconditional, so one for each label.
    "gan": partial(Gan, name="gan", conditioning="separate"),
    # Mirza and Osindero 2014, doi:10.48550/arXiv.1411.1784.
    "cgan": partial(Gan, name="cgan"),
    # Radford et al. 2016, doi:10.48550/arXiv.1511.06434, told the label as above.
    "dcgan": partial(Gan, name="dcgan", network="dcgan", rate=2e-4, latent=100),
    # Odena et al. 2017, doi:10.48550/arXiv.1610.09585, with the networks of DCGAN.
    "acgan": partial(Gan, name="acgan", network="dcgan", conditioning="auxiliary", rate=2e-4, latent=100),
    # Arjovsky et al. 2017, doi:10.48550/arXiv.1701.07875.
    "wgan": partial(
        Gan, name="wgan", objective="wasserstein", regulariser="clip", penalty=0.01, critic_steps=5, optimizer="rmsprop", rate=5e-5
    ),
    # Gulrajani et al. 2017, doi:10.48550/arXiv.1704.00028.
    "wgan-gp": partial(Gan, name="wgan-gp", **_WGAN_GP, rate=1e-4),
    # Lin et al. 2018, doi:10.1109/JSAIT.2020.2983071.
    "pacgan": partial(Gan, name="pacgan", pack=2),
    # Metz et al. 2017, doi:10.48550/arXiv.1611.02163.
    "unrolled-gan": partial(Gan, name="unrolled-gan", unrolled=5),
    # Esteban et al. 2017, doi:10.48550/arXiv.1706.02633.
    "rcgan": partial(Gan, name="rcgan", network="lstm", rate=1e-3),
    # Zhu et al. 2019, doi:10.1038/s41598-019-42516-z, told the label as cgan is.
    "bilstm-cnn-gan": partial(Gan, name="bilstm-cnn-gan", network="bilstm-convolutional", rate=2e-4),
    # Li et al. 2022, doi:10.48550/arXiv.2206.13676: rates, penalty and heads as in their code for MIT-BIH; sizes, batch and which
    # labels are asked for (those of the real batch) are ours.
    "tts-cgan": partial(
        Gan,
        name="tts-cgan",
        network="transformer",
        conditioning="auxiliary",
        classify_generated=False,
        **_WGAN_GP | {"critic_steps": 1, "beta": 0.9},
        rate=1e-4,
        critic_pace=3.0,
        latent=100,
    ),
    # Our own: DeLiGAN's mixture prior, R3GAN's objective and penalties, a projection critic, averaged weights.
    "cnn-gan": partial(
        Gan,
        name="cnn-gan",
        network="convolutional",
        prior="mixture",
        conditioning="blind",
        objective="relativistic",
        regulariser="zero-centred",
        penalty=0.01,
        penalty_every=4,
        beta=0.0,
        latent=64,
        width=16,
        steps=4000,
    ),
    "ddpm": partial(Flow, name="ddpm", path="diffusion", sampling_steps=50, rate=5e-4, mode_size=0, guidance=1.0, blend=0.0),
    "flow": Flow,
    # Our own: of beats that are nobody's alone.
    "group-flow": GroupFlow,
    # Our own: the flow distilled into one step, with a critic.
    "flow-gan": FlowGan,
    "dp-flow": PrivateFlow,
    "dp-gan": PrivateGan,
    "vae": Vae,
    "gaussian": Gaussian,
    "smote": Smote,
    "adasyn": Adasyn,
    "ecgsyn": Ecgsyn,
    "memorizer": Memorizer,
    "class-mean": ClassMean,
}
"""Name -> what makes an untrained generator of keyword arguments.

Another package adds its own by the entry point ``ecgsynth.generators``: a name, and a subclass of
`ecgsynth.generators.base.Generator`, which the common tests of this package hold of, or a function that makes one.
"""


class _OfAnotherPackage:
    """A generator that is imported when it is first asked for, as its package may itself import this one."""

    def __init__(self, point: EntryPoint) -> None:
        self._point = point

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._load())

    def __call__(self, **settings: Any) -> Generator:
        made: Generator = self._load()(**settings)
        return made

    def _load(self) -> Any:
        try:
            return self._point.load()
        except Exception as error:
            raise EcgsynthError(f"the generator {self._point.name} of {self._point.value} cannot be loaded: {error}") from error


for _point in entry_points(group="ecgsynth.generators"):
    GENERATORS.setdefault(_point.name, _OfAnotherPackage(_point))  # none takes the place of one of ours

__all__ = [
    "GENERATORS",
    "Generator",
    "Request",
    "TrainingStep",
    "class_counts",
    "fall_of",
    "load_generator",
    "sample_stored_steps",
    "settings_of",
    "without_rare",
]


def settings_of(name: str) -> dict[str, Any]:
    """Give the settings that the generator of this name takes, each with its default."""
    taken = inspect.signature(GENERATORS[name]).parameters
    return {key: parameter.default for key, parameter in taken.items() if key != "name"}


def load_generator(path: str | Path) -> Generator:
    """Read a model that `Generator.save` wrote, or one that comes with ecgsynth; nothing in it is executed.

    Parameters
    ----------
    path : path
        A model file, or a name of `ecgsynth.models.shipped`.

    Raises
    ------
    EcgsynthError
        If there is no such file, or it is not a model of this package.
    """
    if not place(path).is_file():
        found = shipped()
        if str(path) not in found:
            raise EcgsynthError(f"no model at {path}, and none of that name comes with ecgsynth ({', '.join(found)})")
        path = found[str(path)]
    head, arrays = read_tensors(path, "model")
    try:
        if head["generator"] not in GENERATORS:
            raise ValueError(f"unknown generator {head['generator']!r}; known: {', '.join(GENERATORS)}")
        before = {"blend": 0.0} if "blend" in settings_of(head["generator"]) else {}  # in models that do not say
        generator = GENERATORS[head["generator"]](**before | head["params"])
        generator._load(head, arrays)
    except Exception as error:  # torch and numpy raise whatever the damage leads to
        raise EcgsynthError(f"{path} is no model of ecgsynth, or it is damaged ({type(error).__name__}: {error})") from error
    return generator
