"""The project around the package: notebook, scripts, documents."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import ecgsynth

ROOT = Path(__file__).parent.parent


def test_public_names_are_there():
    assert sorted(ecgsynth._HOME_OF) == sorted(ecgsynth.__all__)
    for name in ecgsynth.__all__:
        assert getattr(ecgsynth, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ecgsynth.nothing


def test_the_command_line_answers_before_anything_heavy_is_imported():
    code = "import sys, ecgsynth.cli; sys.exit(any(name in sys.modules for name in ('torch', 'wfdb', 'matplotlib', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_one():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ecgsynth.__version__ == version
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-demo.lock"])
def test_locks_have_a_hash_of_every_package_in_the_version_that_is_pinned(lock):
    """But of torch, whose builds differ by processor."""

    def named(lines):
        return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in lines}

    pinned = named(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    locked = named(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:", (ROOT / lock).read_text(), re.MULTILINE))
    assert len(locked) == (ROOT / lock).read_text().count("==")
    assert {name: version for name, version in locked.items() if pinned.get(name, version) != version} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + (project["optional-dependencies"]["dev"][1:] if lock == "requirements.lock" else [])
    assert set(named((re.split(r"[\[>]", name)[0], "") for name in asked)) - set(locked) == {"torch"}


def test_stages_import_only_from_stages_before_them():
    order = [
        "errors",
        "devices",
        "threads",
        "distributed",
        "places",
        "steps",
        "engine",
        "untrusted",
        "files",
        "labels",
        "mitdb",
        "headers",
        "annotations",
        "bringing",
        "records",
    ]
    order += ["fetch", "simulate", "beats", "cutting"]
    order += [
        "tables",
        "parts",
        "stored",
        "archive",
        "cache",
        "sides",
        "splits",
        "vectors",
        "spaces",
        "mixing",
        "augmentation",
        "classifiers",
        "gate",
        "metrics",
        "nets",
        "objectives",
        "priors",
        "checkpoints",
        "training",
        "private",
        "adversarial",
        "distillation",
        "models",
        "generators",
        "attacks",
        "scores",
        "families",
        "measures",
        "rows",
        "findings",
        "trials",
        "evaluation",
        "audit",
        "report",
        "pipeline",
        "sampler",
        "torch_data",
        "strips",
        "formats",
        "recipe",
        "source",
        "shards",
        "cards",
        "build",
        "verify",
        "review",
        "cli",
    ]
    package = ROOT / "ecgsynth"
    for path in package.rglob("*.py"):
        stage = path.relative_to(package).parts[0].removesuffix(".py")
        if stage in ("__init__", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecgsynth."):
                imported = node.module.split(".")[1]
                assert order.index(imported) <= order.index(stage), f"{path.name} imports {node.module}"


def test_nothing_is_unpickled():
    unsafe = r"\bpickle\.\w|import pickle|joblib\.load|allow_pickle=True|torch\.(load|save)\b|(?<![.\w])(eval|exec|__import__)\("
    unsafe += r"|shell=True|os\.system|\bmarshal\b|\bshelve\b"
    for path in (ROOT / "ecgsynth").rglob("*.py"):
        text = path.read_text()
        assert not re.search(unsafe, text), path
        for line in text.splitlines():
            assert "allow_pickle=False" in line or not re.search(r"np\.load\(|read_array\(", line), path


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.name)
def test_scripts_start_and_say_what_they_do(script):
    result = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_parts_of_a_measurement_are_kept_and_never_mixed_with_others(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from shared import part

    def stopped():
        raise KeyboardInterrupt

    path = tmp_path / "work" / "flow-0.json"
    with pytest.raises(KeyboardInterrupt):
        part(path, {"steps": (1, 2)}, stopped)
    assert not path.exists()
    assert part(path, {"steps": (1, 2)}, lambda: {"macro_f1": 0.5}) == {"macro_f1": 0.5}
    assert part(path, {"steps": (1, 2)}, stopped) == {"macro_f1": 0.5}
    with pytest.raises(click.ClickException, match="other settings"):
        part(path, {"steps": (1, 3)}, stopped)


def test_a_table_of_several_versions_names_them_all(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from shared import part, versions

    for seed, version in ((0, "0.3.0"), (1, "0.2.0"), (2, "0.3.0")):
        monkeypatch.setattr("ecgsynth.__version__", version)
        part(tmp_path / f"flow-{seed}.json", {}, dict)
    assert versions(tmp_path.glob("*.json")) == "0.2.0, 0.3.0"
    assert versions([tmp_path / "flow-0.json", tmp_path / "flow-2.json"]) == "0.3.0"


def test_what_fails_beside_others_is_a_row_that_says_so(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import compare_generators
    import compare_peers

    found = {"macro_f1": 0.5, "detection": 0.9, "training_beats_per_s": None, "sampling_beats_per_s": 7.0, "parameters": 3, "minutes": 1}
    told = compare_generators.table({"gaussian": [found]}, {"vae": "no memory", "gaussian": "no disk"}, 100).splitlines()
    assert told[2].startswith("| `gaussian` (failed after 1 of the seeds: no disk) | 0.500 | 0.900 |")
    assert told[3].startswith("| `vae` | failed: no memory |")
    assert len({line.count("|") for line in told}) == 1
    told = compare_peers.table({"flow": [{"macro_f1": 0.5}]}, {"tsgm": "not to be installed"}).splitlines()
    assert told[2].startswith("| ecgsynth: `flow` | 0.500 |")
    assert "| failed: not to be installed |" in told[3]
    assert len({line.count("|") for line in told}) == 1


def test_a_training_that_was_stopped_goes_on_to_the_same_model(split, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from shared import trained

    def flow():
        return ecgsynth.GENERATORS["flow"](steps=6, validations=1, hidden=16, depth=1)

    whole, minutes = trained(flow(), tmp_path / "whole.safetensors", split.train)
    assert minutes >= 0
    path = tmp_path / "stopped.safetensors"
    stopped = flow().fit_steps(split.train, None, f"{path}.checkpoint")
    for _ in range(3):
        next(stopped)
    stopped.close()
    assert Path(f"{path}.checkpoint").is_file()
    model, minutes = trained(flow(), path, split.train)
    assert minutes is None
    assert model.fingerprint() == whole.fingerprint()
    assert not Path(f"{path}.checkpoint").exists()


PROMISED = ["mitdb-beats.md", "mitdb-symbols.md", "mitdb-diversity.md", "evidence-dechazal.md", "generators/generators.md"]
PROMISED += [f"between-patients/{name}.md" for name in ("between-patients", "choice", "classifiers", "gains")]
RESULTS = ROOT / "results"
TABLES = sorted({RESULTS / name for name in PROMISED} | {*RESULTS.glob("*.md"), *RESULTS.glob("*/*.md")})
NUMBERS = sorted({*RESULTS.glob("*.json"), *RESULTS.glob("*/*.json")})


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.name)
def test_every_measured_table_is_shown_as_it_was_measured(table):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert table.read_text().startswith("| ")
    included = f"```{{include}} ../{table.relative_to(ROOT)}\n```"
    assert any(table.read_text().strip() in page.read_text() or included in page.read_text() for page in pages)


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda path: path.name)
def test_every_file_of_numbers_says_which_versions_measured_them(numbers):
    told = json.loads(numbers.read_text())["ecgsynth"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(, \d+\.\d+\.\d+)*", told)
    parts = numbers.parent / "parts"
    kept = parts / numbers.stem if numbers.parent == RESULTS else parts
    measured = {json.loads(path.read_text())["ecgsynth"] for path in kept.glob("*.json")}
    assert measured <= set(told.split(", "))
    if measured and kept != parts:
        assert ", ".join(sorted(measured)) == told


def test_the_python_of_the_readme_runs(records_folder, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    code = (
        blocks[0].replace('"records/mitdb"', repr(str(records_folder))).replace("minutes=15", "steps=3, validations=1, hidden=16, depth=1")
    )
    assert "steps=3" in code  # or the whole budget would be trained
    code = code.replace("seeds=range(5)", "classifier=es.BeatClassifier(steps=5), classifiers=('cnn',), families=('privacy',)")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "report.html").is_file()


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    if not path.name.startswith("01"):
        monkeypatch.delenv("ECGSYNTH_MITDB", raising=False)  # simulated records are quicker
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # no picture of a record is committed
    assert "reads" in notebook.cells[0]["source"]  # it opens with what it is for, and on what
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == (2 if path.name.startswith("01") else 1)
