"""Addresses in the place of paths: what is made there is, to the byte, what is made here."""

import json
import logging

import pytest
from click.testing import CliRunner

from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.places import place, upload

pytest.importorskip("upath", reason="needs the extra scale")


@pytest.fixture(scope="module")
def bucket(records_folder):
    """Give the address of a bucket of an S3 server of this machine that holds the records."""
    pytest.importorskip("s3fs", reason="needs s3fs")
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer(port=0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.setenv(f"AWS_{name}", "nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        where = place("s3://archive")
        where.fs.mkdir("archive")
        upload(records_folder, where / "records")
        yield str(where).rstrip("/")
    server.stop()


@pytest.fixture(autouse=True)
def brief_validation(monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.trained._SCORE_STEPS", 3)
    monkeypatch.setattr("ecgsynth.generators.trained._SCORED", 1000)


def run(*words):
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


def contents(folder):
    """Give what is in a folder, by name."""
    return {path.name: path.read_bytes() for path in place(folder).iterdir() if path.is_file() and path.name != "plan.json"}


QUICK = ("--steps", "4", "--set", "hidden=16", "--set", "depth=1", "--set", "validations=1")


def test_every_command_works_on_a_bucket_as_on_a_folder(bucket, records_folder, tmp_path):
    for base, records in ((str(tmp_path), records_folder), (bucket, f"{bucket}/records")):
        run("beats", records, "-o", f"{base}/beats/")
        run("split", f"{base}/beats", "-o", f"{base}/split", "--scheme", "patients")
        run("train", f"{base}/split", "-g", "flow", "-o", f"{base}/model.safetensors", *QUICK)
        run("sample", f"{base}/model.safetensors", "-o", f"{base}/new.npz", "--count", "N=20", "--count", "V=10")
    for folder in ("beats", "split", "split/train"):
        here, there = contents(tmp_path / folder), contents(f"{bucket}/{folder}")
        assert here
        assert here == there
    assert (tmp_path / "model.safetensors").read_bytes() == place(f"{bucket}/model.safetensors").read_bytes()
    assert (tmp_path / "new.npz").read_bytes() == place(f"{bucket}/new.npz").read_bytes()


def test_a_dataset_built_and_judged_in_a_bucket_is_that_of_a_folder(bucket, split, tmp_path):
    split.save(tmp_path / "split")
    upload(tmp_path / "split", place(f"{bucket}/sides"))
    asked = ("--count", "N=30", "--count", "V=10", "--format", "parquet", "--format", "wfdb", "--no-gate")
    run("build", "--model", "mitdb", *asked, "-o", tmp_path / "set")
    run("build", "--model", "mitdb", *asked, "-o", f"{bucket}/set")
    files = {str(path.relative_to(tmp_path / "set")): path for path in (tmp_path / "set").rglob("*") if path.is_file()}
    assert len(files) > 5
    assert all(place(f"{bucket}/set/{name}").read_bytes() == path.read_bytes() for name, path in files.items())
    run("sample", "--model", "mitdb", "-o", f"{bucket}/few.npz", *(word for name in "NSVFQ" for word in ("--count", f"{name}=20")))
    quick = ("--steps", "5", "--classifiers", "cnn", "--families", "", "--json")
    told = [
        run("evaluate", f"{bucket}/few.npz", "--split", base, "-o", tmp_path / "run", "--force", *quick)
        for base in (tmp_path / "split", f"{bucket}/sides")
    ]
    assert json.loads(told[0].splitlines()[-1]) == json.loads(told[1].splitlines()[-1])


def test_a_training_stopped_goes_on_from_the_bucket(bucket, split, tmp_path):
    whole = GENERATORS["flow"](steps=6, hidden=16, depth=1, validations=2).fit(split.train, split.val)
    checkpoint = f"{bucket}/checkpoint"
    stopped = GENERATORS["flow"](steps=6, hidden=16, depth=1, validations=2).fit_steps(split.train, split.val, checkpoint)
    for _ in range(4):
        next(stopped)
    stopped.close()
    resumed = GENERATORS["flow"](steps=6, hidden=16, depth=1, validations=2)
    assert [step.step for step in resumed.fit_steps(split.train, split.val, checkpoint)] == [5, 6]
    assert resumed.fingerprint() == whole.fingerprint()


def test_what_is_not_there_is_said_in_a_line(bucket, tmp_path):
    result = CliRunner().invoke(main, ["sample", f"{bucket}/nothing.safetensors", "-o", str(tmp_path / "new.npz"), "--count", "N=2"])
    assert result.exit_code == 1
    assert "nothing.safetensors" in result.output
    assert "unexpected" not in result.output
    with pytest.raises(EcgsynthError, match="cannot be reached"):
        place("nowhere://bucket/beats")
