"""Addresses in the place of paths: what is made there is, to the byte, what is made here."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import wfdb
from addressed import FEW, contents, run
from click.testing import CliRunner

from ecgsynth.bringing import brought
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.pipeline import Settings, run_steps
from ecgsynth.places import here, place, upload
from ecgsynth.records import find_records, read_record, read_records

pytest.importorskip("upath", reason="needs the extra scale")


@pytest.fixture(autouse=True)
def brief_validation(monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.trained._SCORE_STEPS", 3)
    monkeypatch.setattr("ecgsynth.generators.trained._SCORED", 1000)


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


def put(base, name, data):
    place(f"{base}/{name}").parent.mkdir(parents=True, exist_ok=True)
    place(f"{base}/{name}").write_bytes(data)


@pytest.fixture
def odd(tmp_path):
    """A folder of records of every kind of format, skewed, of several samples a frame, without a length, and of segments with a gap."""
    folder, samples = tmp_path / "odd", np.random.default_rng(0).integers(-100, 100, (1501, 2))
    folder.mkdir()
    for fmt in ("16", "24", "32", "80", "212", "508", "516", "524"):
        given = {"fmt": [fmt] * 2, "adc_gain": [200.0] * 2, "baseline": [0] * 2, "units": ["mV"] * 2, "sig_name": ["A", "B"]}
        wfdb.wrsamp(f"f{fmt}", 360, d_signal=samples, write_dir=str(folder), **given)
    head = (folder / "f16.hea").read_text()
    other = [(f"f{fmt}", " 16 ", f" {fmt} ") for fmt in ("61", "160", "310", "311")]  # of which any bytes are
    for name, old, new in (("skewed", " 16 ", " 16:20 "), ("framed", " 16 ", " 16x2 "), ("unsaid", " 1501\n", "\n"), *other):
        text = head.replace("f16 ", f"{name} ").replace(old, new)
        (folder / f"{name}.hea").write_text(text if name != "framed" else text.replace(" 1501\n", " 750\n"))
    (folder / "lay.hea").write_text("lay 2 360 0\n~ 0 200/mV 16 0 0 0 0 A\n~ 0 200/mV 16 0 0 0 0 B\n")
    (folder / "whole.hea").write_text("whole/4 2 360 3100\nlay 0\nf16 1501\n~ 98\nf212 1501\n")
    for path in sorted(folder.glob("*.hea")):
        wfdb.wrann(path.stem, "atr", np.arange(100, 700, 100), ["N"] * 6, fs=360, write_dir=str(folder))
    return folder


def test_records_at_an_address_are_those_of_a_folder(odd, tmp_path):
    base = f"memory://{tmp_path.name}"
    for path in odd.iterdir():
        put(base, path.name, path.read_bytes() + (bytes(10**6) if path.name == "f212.dat" else b""))
    names = sorted(path.stem for path in odd.glob("*.hea") if path.stem != "lay")
    assert len(names) == 16
    for name in names:
        here, there = read_record(odd / name), read_record(place(f"{base}/{name}"))
        np.testing.assert_array_equal(here.signals, there.signals)
        np.testing.assert_array_equal(here.samples, there.samples)
        assert (here.leads, here.fs) == (there.leads, there.fs)
    with brought(place(f"{base}/f212"), "atr") as copy:
        assert (odd / "f212.dat").stat().st_size <= copy.with_name("f212.dat").stat().st_size < 10**4  # more is asked for by no header


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"r.hea": "r 1 360 10\n" + "# \n" * 500_000}, r"r\.hea is larger than a header is"),
        ({"r.hea": "r 1 360 10\n" + "x" * 3000}, r"r\.hea is no header"),
        ({"r.hea": "r 1 360 10\n../secret.dat 16 200/mV\n"}, "which is no file, or outside of its folder"),
        ({"r.hea": "r/9000 1 360 9000\n" + "r 1\n" * 9000}, r"r\.hea has more than 5,000 segments"),
        (
            {"r.hea": "r 1 360 10\nr.dat 16 200/mV\n", "r.dat": "x" * 20, "r.atr": "x" * (1 << 26) + "x"},
            r"r\.atr is larger than annotations",
        ),
        ({}, r"r\.hea, which is not there"),
    ],
)
def test_a_header_at_an_address_is_checked_before_it_is_parsed(tmp_path, files, message, monkeypatch):
    base, parsed, real = f"memory://{tmp_path.name}", [], wfdb.rdheader
    for name, text in files.items():
        put(base, name, text.encode())
    monkeypatch.setattr(wfdb, "rdheader", lambda *given, **more: parsed.append(given) or real(*given, **more))
    with pytest.raises(EcgsynthError, match=message):
        read_record(place(f"{base}/r"))
    assert len(parsed) == ("r.dat" in files)


def test_segments_of_segments_are_not_asked_for(tmp_path):
    base = f"memory://{tmp_path.name}"
    for name, of in (("r", "s"), ("s", "t"), ("t", "u")):
        put(base, f"{name}.hea", f"{name}/1 1 360 10\n{of} 10\n".encode())
    with pytest.raises(EcgsynthError, match="its segment s is made of segments"):
        read_record(place(f"{base}/r"))
    with brought(place(f"{base}/r"), "atr") as copy:
        assert sorted(path.name for path in copy.parent.iterdir()) == ["r.hea", "s.hea"]


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_a_dataset_at_an_address_is_verified_and_reviewed_as_one_here(base, split, tmp_path):
    split.save(tmp_path / "split")
    upload(tmp_path / "split", place(f"{base}/split"))
    asked = [word for name in "NSV" for word in ("--count", f"{name}=20")]
    run("build", "--model", "mitdb", *asked, "--format", "parquet", "--no-gate", "-o", tmp_path / "set")
    upload(tmp_path / "set", place(f"{base}/set"))
    told = [run("verify", where, "--beats", 3, "--json") for where in (tmp_path / "set", f"{base}/set")]
    assert told[0] == told[1]
    assert json.loads(told[0])["same"] == 3
    for where in (tmp_path, base):
        run("sample", "--dataset", f"{where}/set", "--index", 3, "-o", f"{where}/one.npz")
        run("review", "make", f"{where}/set", "--real", f"{where}/split/test.npz", "-n", 8, "-o", f"{where}/page.html")
    assert place(f"{base}/one.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert place(f"{base}/page.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    key = json.loads((tmp_path / "page.html.key.json").read_text())
    answers = {token: {"verdict": "real"} for token in key["items"]}
    place(f"{base}/ann.json").write_text(json.dumps({"review": key["review"], "answers": answers}))
    run("review", "score", f"{base}/ann.json", "--key", f"{base}/page.html.key.json", "--dataset", f"{base}/set")
    assert "Blind review" in place(f"{base}/set/README.md").read_text()
    run("verify", f"{base}/set", "--beats", 0)
    place(f"{base}/set/parquet/train-00000-of-00001.parquet").write_bytes(b"spoilt")
    assert CliRunner().invoke(main, ["verify", f"{base}/set"]).exit_code == 1


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_what_was_measured_is_reported_and_audited_at_an_address(base, split, tmp_path):
    split.save(tmp_path / "split")
    upload(tmp_path / "split", place(f"{base}/split"))
    quick = ("--steps", 5, "--classifiers", "cnn", "--families", "none", "--rows", "real,synthetic")
    said = []
    for where in (tmp_path, base):
        run("sample", "--model", "mitdb", "-o", f"{where}/few.npz", *(word for name in "NSVFQ" for word in ("--count", f"{name}=20")))
        run("evaluate", f"{where}/few.npz", "--split", f"{where}/split", "-o", f"{where}/run", *quick)
        run("report", f"{where}/run", "--split", f"{where}/split")
        run("audit", "--write-policy", f"{where}/policy.toml")
        asked = f"audit {where}/few.npz --split {where}/split --run {where}/run --policy {where}/policy.toml --steps 5"
        result = CliRunner().invoke(main, asked.split())
        said.append((result.exit_code, result.output))
    assert "do not release" in said[0][1]
    assert said[0] == said[1]
    assert contents(f"{base}/run") == contents(tmp_path / "run")


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_a_gate_a_recipe_and_patients_may_be_at_an_address(base, records_folder, split, tmp_path):
    split.save(tmp_path / "split")
    upload(tmp_path / "split", place(f"{base}/split"))
    place(f"{base}/patients.csv").write_text("sim01,ann\nsim02,ann\n")
    run("beats", records_folder, "-o", f"{base}/beats.npz", "--patients", f"{base}/patients.csv")
    run("split", f"{base}/beats.npz", "-o", f"{base}/other", "--scheme", "patients")
    run("gate", f"{base}/split", "-o", f"{base}/gate.safetensors", "--steps", 5)
    run("sample", "--model", "mitdb", "--like", f"{base}/split/train.npz", "--total", 9, "-o", f"{base}/new")
    place(f"{base}/recipe.toml").write_text(
        f'model = "mitdb"\ngate_file = "{base}/gate.safetensors"\ngate = "mark"\nformats = ["npz"]\n[counts]\nN = 5\n'
    )
    run("build", f"{base}/recipe.toml", "-o", f"{base}/set")
    result = CliRunner().invoke(main, ["beats", str(records_folder), "-o", f"{base}/b.npz", "--patients", f"{base}/no.csv"])
    assert (result.exit_code, result.output) == (1, f"ecgsynth: no CSV of record,patient at {base}/no.csv\n")


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_what_works_in_a_folder_of_this_machine_refuses_an_address(base, records_folder, tmp_path):
    for command in (["fetch", f"{base}/records"], ["run", f"{base}/records", "-o", f"{base}/run"]):
        result = CliRunner().invoke(main, command)
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert f"{command[-1]} is an address, and this works in a folder of this machine" in result.output
    with pytest.raises(EcgsynthError, match="is an address"):
        next(run_steps(f"{base}/run", Settings(records=None)))
    with pytest.raises(EcgsynthError, match="is an address"):
        here("s3://bucket/run")
    upload(records_folder, place(f"{base}/records"))
    quick = ("-g", "gaussian", "--families", "none", "--classifier-steps", 2)
    run("run", f"{base}/records", "-o", tmp_path / "run", *quick)  # whose records may be anywhere


def test_segments_at_an_address_are_no_records_beside_their_own(base, tmp_path):
    signals = np.rint(np.random.default_rng(0).normal(0, 100, (2500, 1))).astype(int)
    for name, part in (("one", signals[:1000]), ("two", signals[1000:]), ("other", signals)):
        wfdb.wrsamp(name, 360, ["mV"], ["I"], d_signal=part, fmt=["16"], adc_gain=[200.0], baseline=[0], write_dir=str(tmp_path))
    (tmp_path / "both.hea").write_text("both/2 1 360 2500\none 1000\ntwo 1500\n")
    for name in ("both", "other"):
        wfdb.wrann(name, "atr", np.arange(200, 2300, 250), ["N"] * 9, write_dir=str(tmp_path))
    upload(tmp_path, place(f"{base}/archive"))
    upload(tmp_path, place(f"{base}/deep/archive"))
    (place(f"{base}/archive") / "empty.hea").write_bytes(b"")
    assert [path.name for path in find_records(f"{base}/archive")] == ["both", "empty", "other"]
    both, other = read_records(f"{base}/deep")
    assert (both.signals == other.signals).all()
    place(f"{base}/deep/archive/two.dat").unlink()
    with pytest.raises(EcgsynthError, match=rf"record {base}/deep/archive/both: its header names two\.dat, which is not there"):
        list(read_records(f"{base}/deep"))


def test_what_is_not_there_is_said_in_a_line(bucket, tmp_path):
    result = CliRunner().invoke(main, ["sample", f"{bucket}/nothing.safetensors", "-o", str(tmp_path / "new.npz"), "--count", "N=2"])
    assert result.exit_code == 1
    assert "nothing.safetensors" in result.output
    assert "unexpected" not in result.output
    with pytest.raises(EcgsynthError, match="cannot be reached"):
        place("nowhere://bucket/beats")
    with pytest.raises(EcgsynthError, match="give another name"):
        place("memory://bucket/beats[1]")  # where --force would remove beats1


class Refusing(BaseHTTPRequestHandler):
    """A store that lets nobody in."""

    def do_GET(self):
        self.send_response(403)
        self.end_headers()

    do_HEAD = do_PUT = do_GET  # noqa: N815

    def log_message(self, *words):
        pass


@pytest.mark.parametrize("what", ["no server", "wrong credentials", "no credentials"])
def test_a_store_that_cannot_be_reached_is_named_in_a_line(what, monkeypatch, tmp_path):
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = 9 if what == "no server" else server.server_port
    for name, value in (("ENDPOINT_URL", f"http://127.0.0.1:{port}"), ("DEFAULT_REGION", "us-east-1"), ("MAX_ATTEMPTS", "1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}", raising=False) if what == "no credentials" else monkeypatch.setenv(f"AWS_{name}", "nobody")
    for name in ("SHARED_CREDENTIALS_FILE", "CONFIG_FILE"):
        monkeypatch.setenv(f"AWS_{name}", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        for words in (["sample", *FEW, "-o", "s3://bucket/few.npz"], ["beats", "s3://bucket/records", "-o", str(tmp_path / "b.npz")]):
            result = CliRunner().invoke(main, words)
            assert (result.exit_code, result.output.count("\n")) == (1, 1)
            assert "s3://bucket/" in result.output
            assert "cannot be reached" in result.output
            assert "unexpected" not in result.output
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.shutdown()
        server.server_close()


def test_a_bucket_that_is_not_there_is_not_made(bucket, records_folder):
    for words in (("sample", *FEW, "-o", "s3://bukcet/few.npz"), ("beats", records_folder, "-o", "s3://bukcet/beats", "--workers", 1)):
        result = CliRunner().invoke(main, list(map(str, words)))
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "cannot write s3://bukcet/" in result.output
        assert "bucket does not exist" in result.output
    assert "bukcet" not in place(bucket).fs.ls("", refresh=True)


def test_a_store_that_is_lost_on_the_way_is_named_in_a_line(bucket, split, tmp_path, monkeypatch):
    from botocore.exceptions import EndpointConnectionError

    split.save(tmp_path / "split")
    upload(tmp_path / "split", place(f"{bucket}/lost"))
    for error, said in (
        (EndpointConnectionError(endpoint_url="http://gone"), "cannot be reached any more"),
        (PermissionError("Forbidden"), "PermissionError: Forbidden"),
    ):
        monkeypatch.setattr("upath.core.UPath.read_text", lambda *given, error=error, **more: (_ for _ in ()).throw(error))
        result = CliRunner().invoke(main, ["train", f"{bucket}/lost", "-g", "gaussian", "-o", str(tmp_path / "m.safetensors")])
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert said in result.output
        assert f"{bucket}/lost" in result.output
