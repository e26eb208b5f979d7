"""Training in several processes, which torchrun or a cluster begins: each learns from its share of every batch."""

import hashlib
import importlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from ecgsynth.errors import EcgsynthError


@contextmanager
def joined() -> Iterator[bool]:
    """Join the processes that were begun together, if there are several; gives whether this is the first, which writes files.

    Raises
    ------
    EcgsynthError
        If the others cannot be reached, or one is lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield n_th() == 0
        return
    importlib.import_module("torch._dynamo")  # optimizers need it; read while processes are joined, it never lets them part
    try:
        # Cards of their own send to each other; numbers of the processor, and a card that processes share, go by gloo.
        dist.init_process_group("cpu:gloo,cuda:nccl" if _own_cards() else "gloo")
    except (RuntimeError, ValueError) as error:
        raise EcgsynthError(f"the processes that train together do not find each other ({str(error).splitlines()[0]})") from error
    try:
        yield n_th() == 0
        dist.barrier(dist.new_group(backend="gloo") if _own_cards() else None)  # that of cards would ask which is whose
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # which may hold what joined the processes until Python ends
        if isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            lost = "a process of this training was lost; --resume goes on from the last checkpoint, if one was written"
            raise EcgsynthError(lost) from error
        raise
    finally:
        dist.destroy_process_group()


def _own_cards() -> bool:
    """Say whether there is a graphics card for each process of this machine."""
    return torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def n_processes() -> int:
    """Give how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def n_th() -> int:
    """Give which of them this is, from 0."""
    return dist.get_rank() if n_processes() > 1 else 0


def own_of(batch: int) -> slice:
    """Give the share of a batch that this process learns from; all processes draw the whole batch, and its noise, alike."""
    size = batch // n_processes()
    return slice(n_th() * size, (n_th() + 1) * size)


def mean_of(value: float) -> float:
    """Give the mean of a number over all processes."""
    if n_processes() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / n_processes()


def any_of(flag: bool) -> bool:
    """Say whether something holds in any process; all have to ask."""
    return mean_of(float(flag)) > 0


def wait_for_all() -> None:
    """Wait until all processes have come as far."""
    mean_of(0.0)


def same_in_all(value: bytes) -> bool:
    """Say whether something is the same in all of several processes; all have to ask."""
    own = torch.tensor(list(hashlib.sha256(value).digest()))
    least, most = own.clone(), own.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return torch.equal(least, most)
