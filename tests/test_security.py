"""Files of strangers: nothing in them is run, nothing outside of the given folder is touched, and what they say is shown as text."""

import html
import json
import pickle
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import chromium
from click.testing import CliRunner
from reported import HISTORY, SPLIT, make_beats, make_evaluation

from ecgsynth import report
from ecgsynth.beats import Beats
from ecgsynth.build import build, write_checksums
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.findings import Evaluation
from ecgsynth.formats import read_parquet
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS, load_generator
from ecgsynth.recipe import Quota, Recipe, load_recipe
from ecgsynth.report.explorer import script_digest
from ecgsynth.review import add_to_card, make_review, read_answers, read_key
from ecgsynth.splits import Split
from ecgsynth.steps import drain
from ecgsynth.verify import address_of, beats_of, verify_steps

OPENED: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if OPENED is not None and event == "open" and isinstance(arguments[0], str | bytes):
        OPENED.append(str(Path(arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]).absolute()))


sys.addaudithook(_watch)  # which can never be taken off


@contextmanager
def opened() -> Iterator[list[str]]:
    """Take note of every file that Python opens."""
    global OPENED
    OPENED = []
    try:
        yield OPENED
    finally:
        OPENED = None


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def trap(tmp_path) -> Iterator[Trap]:
    """A trap that works, and has not been sprung at the end."""
    trap = Trap(tmp_path / "sprung")
    pickle.loads(pickle.dumps(trap)).close()  # noqa: S301  (the control)
    assert trap.path.exists()
    trap.path.unlink()
    yield trap
    assert not trap.path.exists()


def test_a_pickle_offered_as_beats(trap, tmp_path, beats):
    beats.take(np.arange(20)).save(tmp_path / "beats.npz")
    with np.load(tmp_path / "beats.npz") as file:
        arrays = dict(file)
    for name in ("head", "signals", "classes", "samples"):
        spoilt = arrays | {name: np.array([trap] * 20, dtype=object)}
        np.savez(tmp_path / "bad.npz", **spoilt)
        with pytest.raises(EcgsynthError, match="is no beats file, or it is damaged"):
            Beats.load(tmp_path / "bad.npz")
    (tmp_path / "bad.npz").write_bytes(pickle.dumps(trap))
    with pytest.raises(EcgsynthError, match="is no beats file, or it is damaged"):
        Beats.load(tmp_path / "bad.npz")
    assert len(Beats.load(tmp_path / "beats.npz")) == 20


@pytest.mark.parametrize("packed", ["pickle", "torch"])
def test_a_pickle_offered_as_anything_else(trap, tmp_path, packed):
    import torch

    path = tmp_path / "file"
    if packed == "torch":
        torch.save({"identity": trap, "extra": trap}, path)
    else:
        path.write_bytes(pickle.dumps(trap))
    readers = {load_generator: "no model", Gate.load: "no gate", load_recipe: "no recipe", read_key: "no key"}
    readers |= {lambda path: read_parquet([path]): "no Parquet file", lambda path: read_answers(path, {}): "no answers"}
    for reader, words in readers.items():
        with pytest.raises(EcgsynthError, match=f"{words}|holds {words}"):
            reader(path)
    shutil.copy(path, tmp_path / "evaluation.json")
    shutil.copy(path, tmp_path / "split.json")
    for reader in (Evaluation.load, Split.load):
        with pytest.raises(EcgsynthError, match="is damaged"):
            reader(tmp_path)


def test_a_pickle_offered_as_a_checkpoint(trap, tmp_path, split):
    import torch

    path = tmp_path / "model.checkpoint"
    torch.save({"identity": trap, "extra": trap}, path)
    torch.load(path, weights_only=False)["extra"].close()  # the control
    trap.path.unlink()
    model = GENERATORS["flow"](steps=2, validations=1, hidden=8, depth=1)
    with pytest.raises(EcgsynthError, match="does not fit this training, or is damaged; delete it to begin anew"):
        list(model.fit_steps(split.train, None, path))


def test_an_evaluation_whose_examples_are_a_pickle(trap, tmp_path):
    make_evaluation().save(tmp_path)
    assert Evaluation.load(tmp_path).classes
    np.savez(tmp_path / "examples-real.npz", head=np.array([trap], dtype=object))
    with pytest.raises(EcgsynthError, match="is no beats file"):
        Evaluation.load(tmp_path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("strange") / "set"
    build(Recipe("mitdb", [Quota("N", 30), Quota("V", 10)], formats=["npz", "parquet"]), folder)
    return folder


@pytest.fixture
def copy(dataset, tmp_path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def test_checksums_that_lead_out_are_not_followed(copy):
    sums = (copy / "SHA256SUMS").read_text()
    for name in ("../../etc/passwd", "/etc/passwd", "npz/../../secret", "x" * 300, "x/" * 3000):
        (copy / "SHA256SUMS").write_text(f"{sums}{'0' * 64}  {name}\n")
        with opened() as files, pytest.raises(EcgsynthError, match="names a file outside of the dataset"):
            drain(verify_steps(copy, beats=0))
        assert [file for file in files if "passwd" in file or "secret" in file] == []
    (copy / "SHA256SUMS").write_text(sums)
    with opened() as files:
        assert drain(verify_steps(copy, beats=0)).problems == []
    assert str(copy / "npz" / "train.npz") in files  # the watch sees what is opened


def test_a_recipe_of_a_stranger_names_no_model_that_is_opened(copy, tmp_path):
    model = tmp_path / "secret.safetensors"
    model.write_bytes(b"secret")
    recipe = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(recipe.replace('"mitdb"', f'"{model}"'))
    write_checksums(copy)
    with opened() as files:
        found = drain(verify_steps(copy, beats=2))
        beats_of(copy)
        address_of(copy, 3)
    assert not [file for file in files if file == str(model)]
    assert found.same == 0
    assert "--model says where that is" in found.note
    (copy / "recipe.toml").write_text(recipe)
    write_checksums(copy)
    assert drain(verify_steps(copy, beats=2)).same == 2


def test_links_that_lead_out_of_a_dataset_are_refused(copy, tmp_path):
    secret = tmp_path / "secret"
    shutil.copy(copy / "npz" / "train.npz", secret)
    (copy / "npz" / "train.npz").unlink()
    (copy / "npz" / "train.npz").symlink_to(secret)
    for read in (lambda: drain(verify_steps(copy)), lambda: beats_of(copy), lambda: add_to_card(copy, [])):
        with opened() as files, pytest.raises(EcgsynthError, match="a link that leads out of the dataset"):
            read()
        assert str(secret) not in files
    (copy / "npz" / "train.npz").unlink()
    shutil.copy(secret, copy / "npz" / "train.npz")
    card = (copy / "README.md").read_bytes()
    (copy / "README.md").unlink()
    (copy / "README.md").symlink_to(secret)
    kept = secret.read_bytes()
    with pytest.raises(EcgsynthError, match="a link that leads out of the dataset"):
        add_to_card(copy, [])
    assert secret.read_bytes() == kept
    (copy / "README.md").unlink()
    (copy / "README.md").write_bytes(card)
    add_to_card(copy, [])


def test_what_croissant_names_is_not_read(copy, tmp_path):
    known = json.loads((copy / "croissant.json").read_text())
    known["distribution"][0]["contentUrl"] = "file:///etc/passwd"
    (copy / "croissant.json").write_text(json.dumps(known))
    write_checksums(copy)
    with opened() as files:
        assert drain(verify_steps(copy, beats=2)).same == 2
    assert "/etc/passwd" not in files


def test_a_build_writes_where_it_is_told_and_nowhere_else(tmp_path):
    (tmp_path / "in").mkdir()
    recipe = Recipe("mitdb", [Quota("N", 5)], formats=["npz"], name="../../evil", description="<script>alert(1)</script>", licence="../x")
    build(recipe, tmp_path / "in" / "set")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["set"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    for bad in ({"../x": 1.0}, {"a/b": 1.0}, {"": 1.0}):
        with pytest.raises(EcgsynthError, match="splits have names of small letters"):
            replace(recipe, splits=bad)


def test_a_terminal_obeys_no_text_of_a_file(copy, monkeypatch):
    (copy / "\x1b[2J").write_text("more")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal, whose bar of progress shows names too
    with open(copy / "SHA256SUMS", "a") as file:
        file.write(f"{'0' * 64}  [/x]\n")  # which closes what was never opened
    result = CliRunner().invoke(main, ["verify", str(copy)])
    assert result.exit_code == 1
    assert result.stdout == "?[2J is not in SHA256SUMS\n[/x] is missing\n"
    monkeypatch.delenv("FORCE_COLOR")
    (copy / "SHA256SUMS").write_text(f"{'0' * 64}  /\x1b[2J{'x' * 9000}\n")
    result = CliRunner().invoke(main, ["verify", str(copy)])
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 2100


HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">'&{{7*7}}\u2028"


def hostile_evaluation(folder: Path) -> Evaluation:
    """An evaluation of which every text is hostile, as it comes from its files."""
    made = make_evaluation(
        real=replace(make_beats(source="real", records=HOSTILE), leads=np.full(30, HOSTILE), patients=np.full(30, HOSTILE)),
        synthetic=make_beats(source=HOSTILE, seed=1),
        settings={
            "generator": HOSTILE,
            "seeds": [0],
            "classifier": {HOSTILE: HOSTILE},
            "synthetic": {"seed": 3, "model_sha256": HOSTILE},
            "protocol": HOSTILE,
        },
    )
    made.save(folder)
    data = json.loads((folder / "evaluation.json").read_text())
    score = {"value": [0.5, 0.4, 0.6], "real": 0.1, "memorizer": 0.2, "goal": HOSTILE}
    data["scores"] = [score | {"family": family, "measure": HOSTILE, "label": HOSTILE} for family in ("privacy", "fidelity", HOSTILE)]
    data["scores"].append(score | {"family": "privacy", "measure": "near copies", "label": HOSTILE})
    data["counts"]["train"][HOSTILE] = 1
    (folder / "evaluation.json").write_text(json.dumps(data))
    return Evaluation.load(folder)


def policy_of(page: str) -> dict[str, str]:
    """The policy of a page, part by part; there is one, and nothing that could run stands before it."""
    before, meta, after = page.partition('<meta http-equiv="Content-Security-Policy" content="')
    assert meta
    assert "<script" not in before
    return dict(part.strip().split(" ", 1) for part in html.unescape(after.partition('"')[0]).split(";"))


def check_page(page: str) -> None:
    """One script that runs, which the policy knows by its SHA-256; no handler, no other place of scripts, nothing from elsewhere."""
    policy = policy_of(page)
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    running = [text for attributes, text in scripts if "application/json" not in attributes]
    assert len(scripts) == 2
    assert policy["script-src"] == f"'sha256-{script_digest(running[0])}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert set(policy) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert "javascript:" not in page


def test_every_text_of_an_evaluation_is_shown_as_text(tmp_path):
    split = SPLIT | {"notes": [HOSTILE], "scheme": HOSTILE, "seed": HOSTILE}
    page = report.render(hostile_evaluation(tmp_path), history=HISTORY, split=split)
    check_page(page)
    assert "<img src=x" not in page
    assert html.unescape(page).count(HOSTILE) >= 10
    assert "49" not in re.findall(r"&amp;(.{2})", page)  # no template in a template
    check_page(report.render(make_evaluation(), history=HISTORY, split=SPLIT))


def hostile_review():
    real = replace(make_beats(each=12), leads=np.full(60, HOSTILE))
    return make_review(synthetic=replace(real, source=HOSTILE), real=real, items=10, strips=0)


def test_every_text_of_a_review_is_shown_as_text():
    page = hostile_review().html
    check_page(page)
    assert "<img src=x" not in page
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["lead"] == HOSTILE


def test_a_browser_runs_nothing_but_the_pages_own_script(tmp_path):
    """Hostile pages work and run nothing; a script, handler or picture that is put into a page is stopped by its policy."""
    pages = {
        "report": report.render(hostile_evaluation(tmp_path), history=HISTORY, split=SPLIT),
        "review": hostile_review().html,
    }
    spoilt = (
        "<script>document.title='run'</script><img src='http://127.0.0.1:9/x.png' onerror=\"document.title='run'\">"
        "<a id='handler' onclick=\"document.title='run'\">x</a></body>"
    )
    with chromium(tmp_path) as browser:
        for name, page in pages.items():
            path = tmp_path / f"{name}.html"
            path.write_text(page, encoding="utf-8")
            browser.get(path.as_uri())
            assert browser.title != "run"
            assert browser.get_log("browser") == []
            works = "#explorer-map .dot" if name == "report" else "#reviewer"
            assert browser.find_elements("css selector", works)
            path.write_text(page.replace("</body>", spoilt), encoding="utf-8")
            browser.get(path.as_uri())
            browser.execute_script("document.getElementById('handler').click()")
            assert browser.title != "run"
            stopped = " ".join(entry["message"] for entry in browser.get_log("browser"))
            assert "Executing inline script violates" in stopped or "Refused to execute inline script" in stopped
            assert "127.0.0.1:9" in stopped
            unguarded = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", spoilt)  # the control
            path.write_text(unguarded, encoding="utf-8")
            browser.get(path.as_uri())
            assert browser.title == "run"
            browser.get_log("browser")
