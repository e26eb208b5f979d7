"""Long work: written as generators that yield how far they are and return their result, or done piece by piece on several cores."""

import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from ecgsynth.errors import EcgsynthError

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

_IDLE_S = 5  # after which processes that have nothing to do end


class Progress(NamedTuple):
    """How far long work is: the share of all that is done, and what is being done."""

    share: float
    label: str


class Job(NamedTuple):
    """A piece of work that asks nothing of the others: what it is, how long it takes against others, and how it is done."""

    label: str
    cost: float
    call: Callable[[], Any]


def work_steps(jobs: Sequence[Job], workers: int = 1) -> Generator[Progress, None, list[Any]]:
    """Do jobs, those that take longest first, in so many processes, yielding how far all is.

    Parameters
    ----------
    jobs : sequence of Job
        What is to be done; what it needs is sent to the processes.
    workers : int
        Processes, each on one thread, so that results do not depend on their number; 1 for none but this one.

    Returns
    -------
    list
        What each job gave, in their order.

    Raises
    ------
    EcgsynthError
        If a process was ended from outside.
    """
    order = sorted(range(len(jobs)), key=lambda number: -jobs[number].cost)
    results: list[Any] = [None] * len(jobs)
    begun, done, total = min(workers, len(jobs)), 0.0, sum(job.cost for job in jobs)
    if jobs:
        yield Progress(0.0, jobs[order[0]].label)
    for number, result in _done(jobs, order, workers):
        results[number] = result
        done += jobs[number].cost
        begun = min(begun + 1, len(jobs))
        yield Progress(min(done / total, 1.0), jobs[order[begun - 1]].label)
    return results


def _done(jobs: Sequence[Job], order: Sequence[int], workers: int) -> Iterator[tuple[int, Any]]:
    """Do jobs, and give the number and the result of each as it is done."""
    if workers == 1 or len(jobs) == 1:
        yield from (_alone(number, jobs[number].call) for number in order)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # That a process which has grown is begun anew, or work is dropped when nobody asks for it any more, is no news to anyone; such
    # warnings come from other threads, too.
    for news in ("A worker stopped while some jobs were given", ".*You could benefit from adjusting the input task"):
        warnings.filterwarnings("ignore", news)
    # Large arrays are shared; each process may write to its own copy of them, as torch asks for.
    processes = Parallel(min(workers, len(jobs)), return_as="generator_unordered", batch_size=1, mmap_mode="c", idle_worker_timeout=_IDLE_S)
    try:
        yield from processes(delayed(_alone)(number, jobs[number].call) for number in order)
    except TerminatedWorkerError as error:
        raise EcgsynthError("a process was ended, as by want of memory: one worker alone needs less") from error


def _alone(number: int, call: Callable[[], R]) -> tuple[int, R]:
    """Do a job on one thread: the sums in it then have one order."""
    import sklearn.ensemble  # noqa: F401  (limits reach what is there by now)
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return number, call()
    finally:
        torch.set_num_threads(before)


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
