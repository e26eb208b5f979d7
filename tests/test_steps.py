"""Work in pieces gives the same whatever it is divided among, and says how far it is."""

import gc
import os
import signal
from functools import partial

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from ecgsynth.errors import EcgsynthError
from ecgsynth.steps import Job, drain, work_steps


def add_one(values):
    import sklearn.ensemble  # noqa: F401

    values += 1  # as torch is unwilling to take arrays that nobody may write to
    return float(values.sum()), os.getpid(), max(torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info()))


def refuse(values):
    raise EcgsynthError(f"not with {len(values)} values")


def end_at_once(values):
    os.kill(os.getpid(), signal.SIGKILL)


def jobs(*calls):
    return [Job(f"{number}", 1 + number, partial(call, np.full(200_000, number))) for number, call in enumerate(calls)]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_jobs_and_each_is_done_on_one_thread(workers):
    found = drain(work_steps(jobs(*[add_one] * 5), workers))
    assert [total for total, _, _ in found] == [200_000 * (number + 1) for number in range(5)]
    assert {threads for _, _, threads in found} == {1}
    assert (os.getpid() in {process for _, process, _ in found}) == (workers == 1)


def test_the_longest_jobs_are_done_first_and_progress_rises_to_1():
    steps = list(work_steps(jobs(*[add_one] * 4)))
    assert [step.label for step in steps] == ["3", "2", "1", "0", "0"]
    assert [step.share for step in steps] == pytest.approx([0, 0.4, 0.7, 0.9, 1])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_job_refuses_is_said_here(workers):
    with pytest.raises(EcgsynthError, match="not with 200000 values"):
        drain(work_steps(jobs(add_one, refuse), workers))


def test_a_process_that_is_killed_is_told_of_in_a_line():
    with pytest.raises(EcgsynthError, match="one worker alone needs less"):
        drain(work_steps(jobs(add_one, end_at_once), 2))
    assert len(drain(work_steps(jobs(add_one, add_one), 2))) == 2  # and others take its place


def test_no_jobs_are_done_at_once():
    assert list(work_steps([])) == []


def test_who_stops_asking_leaves_nothing_behind():
    steps = work_steps(jobs(*[add_one] * 6), 2)
    next(steps)
    next(steps)
    steps.close()
    gc.collect()
    assert len(drain(work_steps(jobs(add_one, add_one), 2))) == 2
