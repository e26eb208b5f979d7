"""Long work is written as generators that yield how far they are and return their result."""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class Progress(NamedTuple):
    """How far long work is: the share of all that is done, and what is being done."""

    share: float
    label: str


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


def relabelled(steps: Generator[S, None, R], call: Callable[[S], T]) -> Generator[T, None, R]:
    """Go through `steps`, yielding what `call` makes of each; gives what the generator returns."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: R = end.value
            return result
        yield call(step)


def map_lazily(function: Callable[[T], R], items: Iterable[T], workers: int) -> list[R]:
    """Apply `function` in threads that each pull their next item, so no more than `workers` are held."""
    results: dict[int, R] = {}
    numbered = enumerate(items)
    lock = threading.Lock()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    number, item = next(numbered)
                results[number] = function(item)
        except StopIteration:
            pass
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(work) for _ in range(workers)]
        try:
            for task in tasks:
                task.result()
        finally:
            stop.set()
    return [results[number] for number in range(len(results))]
