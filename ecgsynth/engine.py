"""Engines: what does many jobs that ask nothing of each other, on the cores of this machine or on a cluster."""

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Steps
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from joblib import cpu_count

import ecgsynth
from ecgsynth.errors import EcgsynthError
from ecgsynth.steps import Progress

R = TypeVar("R")

_IDLE_S = 5  # after which processes that have nothing to do end
_MOST_WORKERS = 8  # each holds beats of its own
_AHEAD = 2  # jobs that are given to each worker of a cluster, so that none waits for the next
_TRIES = 3  # of a job whose worker is lost


class Job(NamedTuple):
    """A piece of work that asks nothing of the others: what it is, how long it takes against others, and how it is done."""

    label: str
    cost: float
    call: Callable[[], Any]


class Engine(ABC):
    """Does jobs, each on one thread, so that results depend neither on the engine nor on how many work.

    Parameters
    ----------
    workers : int, optional
        How many jobs are done at a time; what there are cores for if not given.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise EcgsynthError("at least one worker is needed")
        self.workers = workers

    def steps(self, jobs: Sequence[Job]) -> Steps[Progress, None, list[Any]]:
        """Do jobs, those that take longest first, yielding how far all is.

        Returns
        -------
        list
            What each job gave, in their order.

        Raises
        ------
        EcgsynthError
            If a worker was lost, again and again where there are others to take its place.
        """
        order = sorted(range(len(jobs)), key=lambda number: -jobs[number].cost)
        results: list[Any] = [None] * len(jobs)
        done, total = 0.0, sum(job.cost for job in jobs)
        if jobs:
            yield Progress(0.0, jobs[order[0]].label)
        for place, (number, result) in enumerate(self.do(jobs, order)):
            results[number] = result
            done += jobs[number].cost
            yield Progress(min(done / total, 1.0), jobs[order[min(place + 1, len(jobs) - 1)]].label)
        return results

    @abstractmethod
    def do(self, jobs: Sequence[Job], order: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Do jobs, begun in this order; gives the number and the result of each as it is done."""


class Local(Engine):
    """The cores of this machine: processes of joblib, 8 at most if not told otherwise; one worker is this process itself."""

    def do(self, jobs: Sequence[Job], order: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Do jobs; see `Engine.do`."""
        workers = min(self.workers or min(cpu_count(), _MOST_WORKERS), len(jobs))
        if workers <= 1:
            yield from (_alone(number, jobs[number].call) for number in order)
            return
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        # That a process which has grown is begun anew, or work is dropped when nobody asks for it any more, is no news to anyone; such
        # warnings come from other threads, too.
        for news in ("A worker stopped while some jobs were given", ".*You could benefit from adjusting the input task"):
            warnings.filterwarnings("ignore", news)
        # Large arrays are shared; each process may write to its own copy of them, as torch asks for.
        processes = Parallel(workers, return_as="generator_unordered", batch_size=1, mmap_mode="c", idle_worker_timeout=_IDLE_S)
        try:
            yield from processes(delayed(_alone)(number, jobs[number].call) for number in order)
        except TerminatedWorkerError as error:
            raise EcgsynthError("a process was ended, as by want of memory: one worker alone needs less") from error


class OnRay(Engine):
    """A cluster, or this machine, by Ray; needs ``pip install 'ecgsynth[scale]'``.

    Jobs travel once to each node, with all that they hold. A job whose worker or node is lost is done again by another. Files
    that jobs read and write must be where all nodes see them: a shared file system, or a bucket.

    Parameters
    ----------
    workers : int, optional
        As for `Engine`; on a cluster as many as it has cores.
    address : str, optional
        Of a cluster: ``"auto"`` for that of this machine. Ray is begun here, for these jobs alone, if not given.
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        super().__init__(workers)
        self.address = address

    def do(self, jobs: Sequence[Job], order: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Do jobs; see `Engine.do`."""
        if not jobs:
            return
        with self._connected() as ray:
            from ray.exceptions import RayError, RayTaskError

            shared = ray.put(list(jobs))  # in one piece, so that what several jobs hold is there once
            task = ray.remote(num_cpus=1, max_retries=_TRIES)(_of_shared)
            cores = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            most = self.workers or cores if self.address else cores  # Ray that is begun here has as many cores as workers are asked for
            ahead, running = iter(order), list[Any]()
            try:
                while True:
                    running += [task.remote([shared], number, ecgsynth.__version__) for number in _next(ahead, most - len(running))]
                    if not running:
                        return
                    ready, running = ray.wait(running, num_returns=1)
                    yield ray.get(ready[0])
            except RayTaskError as error:
                if isinstance(error.cause, RayError):
                    raise EcgsynthError(f"a worker could not begin a job: {_last_line(error.cause)}") from error
                raise error.cause from None
            except RayError as error:
                raise EcgsynthError(f"a worker was lost {_TRIES + 1} times, as by want of memory: {_last_line(error)}") from error

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Connect to the cluster, or begin one; it ends, or the connection, with the block."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # without which it warns
        try:
            import ray
        except ImportError as error:
            raise EcgsynthError("this engine is not installed: pip install 'ecgsynth[scale]', or --engine local") from error
        if ray.is_initialized():
            yield ray
            return
        where = self.address or "local"  # which is none that happens to be there
        here: dict[str, Any] = {} if self.address else {"num_cpus": self.workers, "include_dashboard": False}
        with _kept_from_ray():
            try:
                ray.init(address=where, log_to_driver=False, logging_level="error", **here)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise EcgsynthError(f"no cluster of Ray at {where}: {str(error).splitlines()[0]}") from error
            try:
                yield ray
            finally:
                ray.shutdown()


@contextmanager
def _kept_from_ray() -> Iterator[None]:
    """Have Ray tell of lost workers on standard error, as results come on standard output, and leave SIGTERM to the command.

    It has no setting for either.
    """
    from ray._private import utils, worker

    tell: Any = getattr(worker, "print_to_stdstream", None)
    heed: Any = getattr(utils, "set_sigterm_handler", None)
    worker.print_to_stdstream = lambda data, **how: tell({**data, "is_err": True}, **how)
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        worker.print_to_stdstream, utils.set_sigterm_handler = tell, heed


def engine_of(name: str, *, workers: int | None = None, address: str | None = None) -> Engine:
    """Give the engine of this name: ``"local"`` or ``"ray"``.

    Raises
    ------
    EcgsynthError
        If it is unknown, or has no address.
    """
    if name == "ray":
        return OnRay(workers, address)
    if name != "local":
        raise EcgsynthError(f"unknown engine {name!r}; known: local, ray")
    if address is not None:
        raise EcgsynthError("an address is of a cluster of Ray: --engine ray")
    return Local(workers)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _next(numbers: Iterator[int], count: int) -> list[int]:
    return [number for _, number in zip(range(count), numbers, strict=False)]


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


_here: dict[str, Sequence[Job]] = {}


def _of_shared(shared: list[Any], number: int, version: str) -> tuple[int, Any]:
    """Do one of many jobs in a worker of Ray, which keeps them: all that they hold is loaded once a worker."""
    import ray

    if version != ecgsynth.__version__:
        raise EcgsynthError(f"a worker has version {ecgsynth.__version__} of ecgsynth, not {version}: install the same on all nodes")
    # Arrays lie in memory that all workers share and none may write to, which torch warns of.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    name = shared[0].hex()
    if name not in _here:
        _here.clear()
        _here[name] = ray.get(shared[0])
    return _alone(number, _here[name][number].call)
