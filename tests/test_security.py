"""Files of strangers: nothing in them is run, and what they say is shown as text."""

import html
import json
import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import chromium
from reported import HISTORY, SPLIT, make_beats, make_evaluation

from ecgsynth import report
from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.findings import Evaluation
from ecgsynth.formats import read_parquet
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS, load_generator
from ecgsynth.recipe import load_recipe
from ecgsynth.report.explorer import script_digest
from ecgsynth.review import make_review, read_answers, read_key
from ecgsynth.splits import Split


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


def test_a_pickle_offered_as_a_checkpoint(trap, tmp_path, split, monkeypatch):
    """Which none of torch's ways to read one ever sees: some of their versions run what should be weights alone."""
    import torch

    path = tmp_path / "model.checkpoint"
    torch.save({"identity": trap, "extra": trap}, path)
    torch.load(path, weights_only=False)["extra"].close()  # the control
    trap.path.unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch reads it"))
    model = GENERATORS["flow"](steps=2, validations=1, hidden=8, depth=1)
    with pytest.raises(EcgsynthError, match="does not fit this training, or is damaged; delete it to begin anew"):
        list(model.fit_steps(split.train, None, path))


def test_an_evaluation_whose_examples_are_a_pickle(trap, tmp_path):
    make_evaluation().save(tmp_path)
    assert Evaluation.load(tmp_path).classes
    np.savez(tmp_path / "examples-real.npz", head=np.array([trap], dtype=object))
    with pytest.raises(EcgsynthError, match="is no beats file"):
        Evaluation.load(tmp_path)


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
            unguarded = re.sub(r"<meta http-equiv[^>]*>", "", page)  # the control
            kinds = {"as-it-is": page, "spoilt": page.replace("</body>", spoilt), "unguarded": unguarded.replace("</body>", spoilt)}
            paths = {kind: tmp_path / f"{name}-{kind}.html" for kind in kinds}
            for kind, path in paths.items():
                path.write_text(kinds[kind], encoding="utf-8")
            browser.get(paths["as-it-is"].as_uri())
            assert browser.title != "run"
            assert browser.get_log("browser") == []
            works = "#explorer-map .dot" if name == "report" else "#reviewer"
            assert browser.find_elements("css selector", works)
            browser.get(paths["spoilt"].as_uri())
            browser.execute_script("arguments[0].click()", browser.find_element("id", "handler"))
            assert browser.title != "run"
            stopped = " ".join(entry["message"] for entry in browser.get_log("browser"))
            assert "Executing inline script violates" in stopped or "Refused to execute inline script" in stopped
            assert "127.0.0.1:9" in stopped
            browser.get(paths["unguarded"].as_uri())
            assert browser.title == "run"
            browser.get_log("browser")
