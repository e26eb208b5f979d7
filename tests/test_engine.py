"""Jobs give the same whatever does them, and whoever asks is told how far they are."""

import gc
import json
import os
import signal
import sys
from functools import partial

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from ecgsynth import engine as module
from ecgsynth.build import build
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.engine import Job, Local, OnRay, engine_of
from ecgsynth.errors import EcgsynthError
from ecgsynth.evaluation import evaluate
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.steps import drain

ONE_OF_A_CLUSTER = OnRay(1, "auto")  # one job at a time
ENGINES = {"one process": Local(1), "two processes": Local(2), "Ray": OnRay(2)}


def add_one(values):
    import sklearn.ensemble  # noqa: F401

    values = torch.from_numpy(values) + 1  # torch is unwilling to take arrays that nobody may write to
    return float(values.sum()), os.getpid(), max(torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info()))


def refuse(values):
    raise EcgsynthError(f"not with {len(values)} values")


def end_at_once(values):
    os.kill(os.getpid(), signal.SIGKILL)


def end_once(path):
    if not os.path.exists(path):
        with open(path, "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    return "done by another"


def end_always(folder):
    with open(folder / str(os.getpid()), "w"):
        os.kill(os.getpid(), signal.SIGKILL)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def jobs(*calls):
    return [Job(f"{number}", 1 + number, partial(call, np.full(200_000, number))) for number, call in enumerate(calls)]


@pytest.fixture(scope="module")
def with_ray():
    """Begin Ray once for all tests: engines use what is there."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ecgsynth[scale]'")
    with OnRay(2)._connected() as ray:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests
        yield ray
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "Ray":
        request.getfixturevalue("with_ray")
    return ENGINES[request.param]


def test_results_are_in_the_order_of_jobs_and_each_is_done_on_one_thread(engine):
    found = drain(engine.steps(jobs(*[add_one] * 5)))
    assert [total for total, _, _ in found] == [200_000 * (number + 1) for number in range(5)]
    assert {threads for _, _, threads in found} == {1}
    assert (os.getpid() in {process for _, process, _ in found}) == (engine is ENGINES["one process"])


def test_the_longest_jobs_are_done_first_and_progress_rises_to_1():
    steps = list(Local(1).steps(jobs(*[add_one] * 4)))
    assert [step.label for step in steps] == ["3", "2", "1", "0", "0"]
    assert [step.share for step in steps] == pytest.approx([0, 0.4, 0.7, 0.9, 1])


def test_what_a_job_refuses_is_said_here(engine):
    with pytest.raises(EcgsynthError, match=r"^not with 200000 values$"):
        drain(engine.steps(jobs(add_one, refuse)))


def test_a_process_that_is_killed_is_told_of_in_a_line():
    with pytest.raises(EcgsynthError, match="one worker alone needs less"):
        drain(Local(2).steps(jobs(add_one, end_at_once)))
    assert len(drain(Local(2).steps(jobs(add_one, add_one)))) == 2  # and others take its place


def test_what_a_lost_worker_of_a_cluster_did_is_done_by_another(with_ray, tmp_path):
    lost = Job("lost", 1, partial(end_once, tmp_path / "ended"))
    assert drain(OnRay(2).steps([lost, *jobs(add_one)]))[0] == "done by another"


def test_a_job_whose_workers_are_lost_again_and_again_is_given_up_in_a_line(with_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TRIES", 1)
    with pytest.raises(EcgsynthError, match=r"^a worker was lost 2 times, as by want of memory: "):
        drain(OnRay(2).steps([Job("lost", 1, partial(end_always, tmp_path))]))
    assert len(list(tmp_path.iterdir())) == 2


def test_ray_leaves_it_to_the_command_what_a_signal_does(with_ray):
    """Its own handlers would end the command with 1 or 15, which says nothing of SIGTERM."""
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_ray_tells_of_lost_workers_is_none_of_the_results(with_ray, monkeypatch):
    """It puts it on standard output, if it is not of an error."""
    from ray._private import worker

    told = []
    monkeypatch.setattr(worker, "print_to_stdstream", spy := lambda data, **how: told.append((data, how)))
    with module._kept_from_ray():
        worker.print_to_stdstream({"lines": ["lost"], "is_err": False}, more=1)
    assert told == [({"lines": ["lost"], "is_err": True}, {"more": 1})]
    assert worker.print_to_stdstream is spy


def test_a_dataset_has_the_same_bytes_whatever_builds_it(with_ray, split, gate, tmp_path):
    GENERATORS["gaussian"]().fit(split.train).save(tmp_path / "model")
    gate.save(tmp_path / "gate")
    named = {"model": str(tmp_path / "model"), "gate_file": str(tmp_path / "gate"), "gate": "mark"}
    recipe = Recipe(quotas=[Quota("N", 60), Quota("V", 20)], splits={"train": 0.5, "test": 0.5}, seed=3, **named)
    folders = {"here": None, "two processes": Local(2), "cluster": OnRay(2), "one of it": ONE_OF_A_CLUSTER}
    for name, engine in folders.items():
        assert build(recipe, tmp_path / name, engine=engine)
    here, *others = (contents(tmp_path / name) for name in folders)
    assert len(list((tmp_path / "here").rglob("*.parquet"))) == 2
    assert others == [here, here, here]


def test_an_evaluation_by_a_cluster_is_the_same(with_ray, split):
    made = GENERATORS["gaussian"]().fit(split.train).sample(class_counts(split.train), seed=1)
    asked = {"classifier": BeatClassifier(steps=5), "rows": ("real", "synthetic"), "classifiers": ("cnn",), "families": ("privacy",)}
    sides = {"synthetic": made, "train": split.train, "val": split.val, "test": split.test}
    engines = Local(1), OnRay(2), ONE_OF_A_CLUSTER
    here, *there = (json.dumps(evaluate(**sides, **asked, engine=engine).to_dict()) for engine in engines)
    assert there == [here, here]


def test_no_jobs_are_done_at_once(engine):
    assert list(engine.steps([])) == []


def test_who_stops_asking_leaves_nothing_behind(engine):
    steps = engine.steps(jobs(*[add_one] * 6))
    next(steps)
    next(steps)
    steps.close()
    gc.collect()
    assert len(drain(engine.steps(jobs(add_one, add_one)))) == 2


def test_engines_that_cannot_be_are_refused(monkeypatch):
    with pytest.raises(EcgsynthError, match="known: local, ray"):
        engine_of("spark")
    with pytest.raises(EcgsynthError, match="--engine ray"):
        engine_of("local", address="auto")
    with pytest.raises(EcgsynthError, match="at least one worker"):
        Local(0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EcgsynthError, match="pip install 'ecgsynth\\[scale\\]'"):
        drain(OnRay(1).steps(jobs(add_one)))


def test_a_worker_of_another_version_does_nothing(monkeypatch):
    with pytest.raises(EcgsynthError, match="install the same on all nodes"):
        module._of_shared([None], 0, "0.0.0")
