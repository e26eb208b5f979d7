"""Where networks are trained: on the processor, or on a graphics card."""

import os
import re

import torch

from ecgsynth.errors import EcgsynthError

CPU = torch.device("cpu")


def find_device(name: str) -> torch.device:
    """Find the device of this name.

    Parameters
    ----------
    name : str
        ``"cpu"``; ``"cuda"`` or ``"cuda:1"`` for a graphics card, which AMD's are called, too; ``"auto"`` for one if there is one. Of
        several processes that torchrun begins, each takes a card of its own.

    Returns
    -------
    torch.device

    Raises
    ------
    EcgsynthError
        If it is not there.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not cards):
        return CPU
    asked = re.fullmatch(r"auto|cuda(?::([0-9]{1,3}))?", name)
    if not asked:
        raise EcgsynthError(f"unknown device {name!r}; known: cpu, cuda, cuda:0 and so on, auto")
    if not cards:
        raise EcgsynthError("no graphics card that this torch can use: train on the cpu, or install torch with CUDA for this machine")
    place = int(asked[1]) if asked[1] else int(os.environ.get("LOCAL_RANK", "0")) % cards
    if place >= cards:
        raise EcgsynthError(f"there is no {name}: this machine has {cards} graphics card{'s' if cards > 1 else ''}, counted from 0")
    return torch.device("cuda", place)


def describe(device: torch.device) -> str:
    """Give the name of a device as its maker has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
