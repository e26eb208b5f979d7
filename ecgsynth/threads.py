"""How many threads a computation takes: sums in one thread have one order, whatever the machine."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, Thread

import torch

_lock = Lock()
_inside = 0  # how many are within `one_thread_each`, and what is undone when the last of them leaves
_limits = ExitStack()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Have threads that begin within compute on one thread each; those that overlap may end in any order."""
    global _inside
    from threadpoolctl import threadpool_limits

    with _lock:
        if not _inside:
            _limits.enter_context(threadpool_limits(1, user_api="blas"))
            _limits.callback(_set_for_new_threads, torch.get_num_threads())
            _set_for_new_threads(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limits.close()


def _set_for_new_threads(count: int) -> None:
    """Set it from a thread of its own: torch then leaves threads as they are that are there already."""
    thread = Thread(target=torch.set_num_threads, args=(count,))
    thread.start()
    thread.join()
