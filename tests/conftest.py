import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import FAST, QUICK_SCORES, call
from server import running_server

from ecgsynth import shards
from ecgsynth.beats import Beats
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.cutting import extract_beats
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS
from ecgsynth.places import place, upload
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.records import LEADS, Record, read_records, write_record
from ecgsynth.simulate import simulate_records
from ecgsynth.splits import Split, split_beats


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept from one run of the tests for the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def mitdb() -> Path:
    folder = os.environ.get("ECGSYNTH_MITDB")
    if not folder:
        pytest.skip("needs the MIT-BIH records: set ECGSYNTH_MITDB to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def mitdb_beats(mitdb: Path) -> Beats:
    return extract_beats(read_records(mitdb, lead=LEADS))


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return list(simulate_records(n_patients=12, minutes=2, seed=0))


@pytest.fixture(scope="session")
def records_folder(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    for record in records:
        write_record(record, folder)
    return folder


@pytest.fixture(scope="session")
def beats(records: list[Record]) -> Beats:
    return extract_beats(records, source="simulated")


@pytest.fixture(scope="session")
def split(beats: Beats) -> Split:
    return split_beats(beats, seed=0)


@pytest.fixture(scope="session")
def gate(split: Split) -> Gate:
    return Gate.learn(split.train, split.val, classifier=BeatClassifier(steps=300))


@pytest.fixture(scope="session")
def files(gate: Gate, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of a model and of its gates, one of which has no limits for all classes."""
    folder = tmp_path_factory.mktemp("model")
    GENERATORS["gaussian"]().fit(split.train).save(folder / "model.safetensors")
    gate.save(folder / "gate.safetensors")
    four = {label: gate.limits[label] for label in "NSVF"}
    replace(gate, limits=four).save(folder / "few")
    return folder


@pytest.fixture(scope="module")
def work(records_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder of everything the commands make; trainings are scored fast while it is used."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK_SCORES.items():
            patch.setattr(f"ecgsynth.generators.trained.{name}", value)
        np.savez(folder / "foreign.npz", beats=np.zeros((3, 256)))
        call("beats", records_folder, "-o", folder / "beats.npz")
        call("split", folder / "beats.npz", "-o", folder / "split")
        call("train", folder / "split", "-o", folder / "model.safetensors", "--steps", 3, *FAST)
        call("sample", folder / "model.safetensors", "-o", folder / "syn.npz", "--like", folder / "split" / "train.npz")
        judged = ("--steps", 20, "--classifiers", "cnn", "--families", "none")
        call("evaluate", folder / "syn.npz", "--split", folder / "split", "-o", folder / "run", *judged)
        yield folder


@pytest.fixture
def recipe(files: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Give a recipe of a small dataset, whose shards and WFDB records are small, too, so that it has several."""
    monkeypatch.setattr(shards, "SHARD", 120)
    monkeypatch.setattr(shards, "PER_RECORD", 50)
    quotas = [Quota("N", 200), Quota("V", 80), Quota("S", 30, rr_before=(0.3, 0.55))]
    named = {"model": str(files / "model.safetensors"), "gate_file": str(files / "gate.safetensors")}
    return Recipe(quotas=quotas, splits={"train": 0.8, "test": 0.2}, seed=3, most_rejected=0.99, **named)


@pytest.fixture
def server(monkeypatch) -> Iterator[Any]:
    with running_server(monkeypatch) as server:
        yield server


@pytest.fixture
def unchanged_global_random():
    """Fails the test if it draws from, or seeds, the global random state of numpy or torch."""
    import torch

    before = np.random.get_state()[1].copy(), torch.random.get_rng_state().clone()  # noqa: NPY002
    yield
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), before[1])


@pytest.fixture(scope="module")
def bucket(records_folder: Path) -> Iterator[str]:
    """Give the address of a bucket of an S3 server of this machine that holds the records."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    s3fs.S3FileSystem.clear_instance_cache()  # which may know the server of another module
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer(port=0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.setenv(f"AWS_{name}", "nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        where: Any = place("s3://archive")
        where.fs.makedirs("archive", exist_ok=True)  # servers of one process have the same buckets
        upload(records_folder, where / "records")
        yield str(where).rstrip("/")
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an address that nobody else uses, of either kind of store."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
