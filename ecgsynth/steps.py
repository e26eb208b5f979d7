"""Long work is written as generators that yield how far they are and return their result."""

from collections.abc import Callable, Generator
from typing import TypeVar

S = TypeVar("S")
R = TypeVar("R")


def drain(steps: Generator[S, None, R], on_step: Callable[[S], object] = lambda step: None) -> R:
    """Go through `steps`, calling `on_step` with each; gives what the generator returns."""
    try:
        while True:
            on_step(next(steps))
    except StopIteration as end:
        result: R = end.value
        return result
    finally:
        steps.close()
