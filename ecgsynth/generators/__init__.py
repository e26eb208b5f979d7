"""Generators by name; the command line, the docs and the common tests read this one list."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Generator, TrainingStep, class_counts
from ecgsynth.generators.controls import ClassMean, Memorizer, Smote
from ecgsynth.generators.gan import Gan
from ecgsynth.generators.mechanistic import Ecgsyn

GENERATORS: dict[str, Callable[..., Generator]] = {
    "cnn-gan": partial(Gan, name="cnn-gan", network="convolutional"),
    "rnn-gan": partial(Gan, name="rnn-gan", network="recurrent", steps=1000),
    "smote": Smote,
    "ecgsyn": Ecgsyn,
    "memorizer": Memorizer,
    "class-mean": ClassMean,
}
"""Name -> what makes an untrained generator of keyword arguments."""

__all__ = ["GENERATORS", "Generator", "TrainingStep", "class_counts", "load_generator", "settings_of"]


def settings_of(name: str) -> dict[str, Any]:
    """Give the settings that the generator of this name takes, each with its default."""
    taken = inspect.signature(GENERATORS[name]).parameters
    return {key: parameter.default for key, parameter in taken.items() if key != "name"}


def load_generator(path: str | Path) -> Generator:
    """Read a model that `Generator.save` wrote; nothing in it is executed.

    Raises
    ------
    EcgsynthError
        If there is no such file, or it is not a model of this package.
    """
    import json

    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise EcgsynthError(f"no model at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            head = json.loads((file.metadata() or {})["ecgsynth"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        generator = GENERATORS[head["generator"]](**head["params"])
        generator._load(head, arrays)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise EcgsynthError(f"{path} is no model of ecgsynth, or it is damaged ({type(error).__name__}: {error})") from error
    return generator
