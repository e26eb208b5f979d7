"""The blind review: a page that tells nothing, and a score that is right."""

import errno
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import chromium
from click.testing import CliRunner

from ecgsynth import files
from ecgsynth.beats import Beats
from ecgsynth.build import build
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.review import Answers, Review, add_to_card, make_review, read_answers, read_key, score_review
from ecgsynth.review.page import company_of
from ecgsynth.review.score import over_items, wilson
from ecgsynth.steps import drain
from ecgsynth.verify import verify_steps


@pytest.fixture(scope="module")
def synthetic(split) -> Beats:
    return GENERATORS["gaussian"]().fit(split.train).sample({"N": 300, "S": 60, "V": 60, "F": 40, "Q": 60})


@pytest.fixture(scope="module")
def review(synthetic, split) -> Review:
    return make_review(synthetic=synthetic, real=split.train, items=40, seed=3)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_as_many_real_as_synthetic_of_each_class_and_kind(review):
    items = list(review.key["items"].values())
    assert len(items) == 40
    for kind in ("real", "synthetic"):
        own = [item for item in items if item["kind"] == kind]
        assert len(own) == 20
        assert {label: sum(item["label"] == label for item in own) for label in "NSVFQ"} == dict.fromkeys("NSVFQ", 4)
        assert sum(item["shown"] == "strip" for item in own) == 5


def test_the_page_tells_nothing_of_the_key(review):
    """Neither what is shown nor its order says which is which: only the waveform is there, on the same steps."""
    data = data_of(review.html)
    assert set(data) == {"review", "lead", "items", "classes"}
    assert {item["id"] for item in data["items"]} == set(review.key["items"])
    for item in data["items"]:
        assert set(item) == {"id", "fs", "step", "signals", "marks", "span"}
        assert all(isinstance(value, int) for signal in item["signals"] for value in signal)
    kinds = [review.key["items"][item["id"]]["kind"] for item in data["items"]]
    assert kinds != sorted(kinds)
    lengths = {kind: {len(i["signals"][0]) for i, of in zip(data["items"], kinds, strict=True) if of == kind} for kind in set(kinds)}
    assert lengths["real"] == lengths["synthetic"] == {256, 2160}
    assert "memorizer" not in review.html
    assert "gaussian" not in review.html


def test_neighbours_of_a_strip_are_as_many_of_each_class_for_both_kinds(synthetic, split):
    labels = ["N", "S", "V"]
    company = company_of([synthetic, split.train], labels)
    for beats in (synthetic, split.train):
        assert all(beats.counts()[label] > company[label] for label in labels)
    assert company["N"] > 5 * company["V"]
    few = synthetic.take(np.flatnonzero(synthetic.classes == "V")[:4])
    assert company_of([few, split.train], ["V"]) == {"V": 3}


def test_what_is_shown_is_the_beat_of_the_key(review, synthetic, split):
    for item in data_of(review.html)["items"]:
        known = review.key["items"][item["id"]]
        source = synthetic if known["kind"] == "synthetic" else split.train
        if known["kind"] == "synthetic":
            number = np.flatnonzero((source.samples == known["index"]) & (source.classes == known["label"]))
        else:
            number = np.flatnonzero((source.samples == known["sample"]) & (source.records == known["record"]))
        (beat,) = source.signals[number]
        shown = np.array(item["signals"][0]) * item["step"]
        if known["shown"] == "beat":
            np.testing.assert_allclose(shown, beat, atol=item["step"] / 2 + 1e-6)
        else:
            place = round(item["marks"][0] * item["fs"])
            np.testing.assert_allclose(shown[place - 15 : place + 16], beat[93:124], atol=item["step"] / 2 + 1e-6)


def test_the_same_seed_makes_the_same_page(review, synthetic, split):
    again = make_review(synthetic=synthetic, real=split.train, items=40, seed=3)
    assert (again.html, again.key) == (review.html, review.key)
    assert make_review(synthetic=synthetic, real=split.train, items=40, seed=4).key["review"] != review.key["review"]


def test_what_cannot_be_reviewed_is_refused(synthetic, split):
    with pytest.raises(EcgsynthError, match="-n asks for fewer"):
        make_review(synthetic=synthetic, real=split.test, items=4000)
    with pytest.raises(EcgsynthError, match="share no lead"):
        make_review(synthetic=replace(synthetic, leads=np.full(len(synthetic), "V9")), real=split.test)
    with pytest.raises(EcgsynthError, match="share no class"):
        make_review(synthetic=synthetic.take(synthetic.classes == "N"), real=split.test.take(split.test.classes == "V"))
    with pytest.raises(EcgsynthError, match="differ in leads, length"):
        make_review(synthetic=replace(synthetic, fs=250.0), real=split.test)
    broken = replace(synthetic, signals=np.where(np.arange(len(synthetic)) == 2, np.nan, synthetic.signals.T).T.astype(np.float32))
    with pytest.raises(EcgsynthError, match="1 of the synthetic beats hold values that are not finite"):
        make_review(synthetic=broken, real=split.test)


def answers(review: Review, reviewer: str = "ann", **given) -> Answers:
    """Answer each item by functions of what the key says of it."""
    items = {token: {name: say(known) for name, say in given.items()} for token, known in review.key["items"].items()}
    return Answers(reviewer, review.key["review"], items)


def test_a_reviewer_who_sees_all_and_one_who_sees_nothing(review):
    knows = answers(
        review, verdict=lambda known: known["kind"], label=lambda known: known["label"], usable=lambda known: known["kind"] == "real"
    )
    (judged,) = score_review([knows], review.key)
    assert judged.accuracy.value == 1
    assert judged.accuracy.low > 0.9
    assert {kind: kappa.value for kind, kappa in judged.kappa.items()} == {"real": 1.0, "synthetic": 1.0}
    assert (judged.usable["real"].value, judged.usable["synthetic"].value) == (1, 0)
    assert all(value.value == 1 for value in judged.by_label.values())
    blind = answers(review, "ben", verdict=lambda known: "real", label=lambda known: "N")
    first, second, both = score_review([knows, blind], review.key)
    assert second.accuracy.value == 0.5
    assert second.accuracy.low < 0.5 < second.accuracy.high
    assert second.called_real == first.called_real | {"synthetic": second.called_real["synthetic"]}
    assert second.kappa["real"].value == pytest.approx(0, abs=1e-9)
    assert both.told == 80
    assert both.accuracy.value == 0.75
    assert both.accuracy.low < 0.75 < both.accuracy.high
    with pytest.raises(EcgsynthError, match="given twice"):
        score_review([knows, replace(knows, reviewer="ann (1)")], review.key)
    with pytest.raises(EcgsynthError, match="given twice"):
        score_review([knows, replace(blind, reviewer="ann")], review.key)


def test_the_interval_of_several_reviewers_is_over_items():
    """Five who always say the same of an item know no more of all items than one."""
    rng = np.random.default_rng(0)
    hits = rng.random(40) < 0.7
    one = over_items([(str(item), bool(hit)) for item, hit in enumerate(hits)], np.mean)
    five = over_items([(str(item), bool(hit)) for item, hit in enumerate(hits) for _ in range(5)], np.mean)
    assert five == pytest.approx(one)
    naive = wilson([bool(hit) for hit in hits for _ in range(5)])
    assert naive.high - naive.low < 0.6 * (five.high - five.low)


def test_intervals_are_wilsons():
    """Closed form: (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4 n^2)) / (1 + z^2 / n)."""
    z, n, p = 1.959963984540054, 20, 0.7
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = wilson([True] * 14 + [False] * 6)
    np.testing.assert_allclose(found, [p, (p + z**2 / (2 * n) - half) / (1 + z**2 / n), (p + z**2 / (2 * n) + half) / (1 + z**2 / n)])
    assert np.isnan(wilson([]).value)


def test_what_was_not_answered_is_not_counted(review):
    tokens = list(review.key["items"])
    few = Answers("ann", review.key["review"], {tokens[0]: {"verdict": "real"}, tokens[1]: {"label": "N"}, tokens[2]: {}})
    (judged,) = score_review([few], review.key)
    assert judged.told == 1
    with pytest.raises(EcgsynthError, match="nothing was answered"):
        score_review([Answers("ann", review.key["review"], {})], review.key)


def test_answers_of_strangers_are_read_with_care(review, tmp_path):
    token = next(iter(review.key["items"]))
    base = {"review": review.key["review"], "reviewer": "\x1b[2Jann\n", "answers": {token: {"verdict": "real", "label": "Z", "usable": 1}}}
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(base))
    read = read_answers(path, review.key)
    assert read.reviewer == "[2Jann"
    assert read.items[token].get("verdict") == "real"
    assert "label" not in read.items[token]
    for change in ({"review": "other"}, {"answers": {"strange": {}}}, {"answers": [1]}, {"answers": {token: 5}}):
        path.write_text(json.dumps(base | change))
        with pytest.raises(EcgsynthError, match=r"of another review|no answers of a review"):
            read_answers(path, review.key)
    for text in ("", "[", "[" * 100_000, "5", '{"review": NaN}'):
        path.write_text(text)
        with pytest.raises(EcgsynthError, match="no answers of a review"):
            read_answers(path, review.key)
    with pytest.raises(EcgsynthError, match="no answers at"):
        read_answers(tmp_path / "none", review.key)
    for text in ("", "{}", '{"format": 1, "items": [], "review": "a"}'):
        path.write_text(text)
        with pytest.raises(EcgsynthError, match="is no key"):
            read_key(path)
    with pytest.raises(EcgsynthError, match="no key at"):
        read_key(tmp_path / "none")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("review") / "set"
    build(Recipe("mitdb", [Quota(label, 40) for label in "NSVFQ"], formats=["npz", "parquet"]), folder)
    return folder


def test_the_card_says_what_reviewers_found(review, dataset):
    knows = score_review([answers(review, verdict=lambda known: known["kind"])], review.key)
    blind = score_review([answers(review, "bob", verdict=lambda known: "real")], review.key)
    add_to_card(dataset, blind)
    add_to_card(dataset, knows)
    card = (dataset / "README.md").read_text()
    assert card.count("## Blind review") == 1
    assert "told real from synthetic: 1.000" in card
    assert "told real from synthetic: 0.500" not in card
    assert "bob" not in card
    assert "ann" not in card.split("## Blind review")[1].split("##")[0]
    assert "## Licence and sources" in card
    assert drain(verify_steps(dataset, beats=0)).problems == []
    for changed, found in (card + "more\n", blind), (card.replace("beats", "beasts", 1), knows):
        (dataset / "README.md").write_text(changed)
        with pytest.raises(EcgsynthError, match="is not as it was"):
            add_to_card(dataset, found)
    (dataset / "README.md").write_text(card + "more\n")
    add_to_card(dataset, knows)  # whose part of the card is written anew, to what its checksum says
    assert (dataset / "README.md").read_text() == card


@pytest.mark.parametrize("name", ["README.md", "SHA256SUMS"])
def test_a_card_that_finds_no_room_is_made_good_by_the_same(review, tmp_path, monkeypatch, name):
    build(Recipe("mitdb", [Quota("N", 10)], formats=["npz"], gate="none"), tmp_path / "set")
    blind = score_review([answers(review, verdict=lambda known: "real")], review.key)
    put = files._rename

    def full(temporary, path, aside):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(temporary, path, aside)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_rename", full)
        with pytest.raises(EcgsynthError, match=f"cannot write .*{name}: No space left"):
            add_to_card(tmp_path / "set", blind)
    if name == "README.md":  # its checksum is there by then, which no other card matches
        card = (tmp_path / "set" / name).read_bytes()
        (tmp_path / "set" / name).write_bytes(card.replace(b"beats", b"beasts"))
        with pytest.raises(EcgsynthError, match="is not as it was"):
            add_to_card(tmp_path / "set", blind)
        (tmp_path / "set" / name).write_bytes(card)
    else:
        assert drain(verify_steps(tmp_path / "set", beats=0)).problems == []
    add_to_card(tmp_path / "set", blind)
    assert "told real from synthetic: 0.500" in (tmp_path / "set" / "README.md").read_text()
    assert drain(verify_steps(tmp_path / "set", beats=0)).problems == []


def wait_for(pattern: str, folder: Path) -> Path:
    for _ in range(100):
        if found := [path for path in folder.glob(pattern) if path.stat().st_size]:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} in {folder}")


def test_a_reviewer_in_a_browser(split, tmp_path):
    """From the page to the score: keys and clicks are kept over a reload, exported, and scored right."""
    build(Recipe("mitdb", [Quota(label, 40) for label in "NSVFQ"], formats=["parquet"]), tmp_path / "set")
    real = replace(split.test, leads=np.full(len(split.test), "MLII"))
    real.save(tmp_path / "real.npz")
    page = tmp_path / "review.html"
    made = CliRunner().invoke(
        main, ["review", "make", str(tmp_path / "set"), "--real", str(tmp_path / "real.npz"), "-n", "10", "-o", str(page)]
    )
    assert made.exit_code == 0, made.output
    key = read_key(tmp_path / "review.html.key.json")
    order = [item["id"] for item in data_of(page.read_text())["items"]]
    with chromium(tmp_path) as browser:
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        def press(*keys: str) -> None:
            ActionChains(browser).send_keys(*keys).perform()

        def begin(name: str) -> None:
            browser.find_element("id", "reviewer").send_keys(name, Keys.ENTER)

        browser.get(page.as_uri())
        press("1")  # nobody is there yet
        begin("Zoë")
        press("2")
        browser.find_element("id", "leave").click()
        begin("Ann B.")  # does not see what another has answered
        assert "0 of 10" in browser.find_element("id", "count").text
        for number, token in enumerate(order):
            known = key["items"][token]
            assert f"{number + 1} of 10" in browser.find_element("id", "title").text
            assert browser.find_elements("css selector", "#paper svg polyline")
            right = number != 4  # one mistake
            press("1" if (known["kind"] == "real") == right else "2", known["label"].lower())
            if number == 5:
                browser.refresh()
                begin("Ann B.")
                assert "6 of 10" in browser.find_element("id", "title").text
                press(Keys.DELETE)
                assert "5 of 10" in browser.find_element("id", "count").text
                press("1" if known["kind"] == "real" else "2", known["label"].lower())
            if number == 6:
                press("m", "wide QRS, 1 lead", Keys.ESCAPE)
            browser.find_element("css selector", "button[data-value=yes]").click()
            press(Keys.ENTER)  # goes on, though a button was clicked last
        pressed = browser.find_elements("css selector", "button[aria-pressed=true]")
        assert {button.get_attribute("data-name") for button in pressed} == {"verdict", "label", "usable"}
        browser.find_element("id", "export").click()
        exported = wait_for("answers-*.json", tmp_path)
        assert browser.get_log("browser") == []
    assert exported.name == "answers-Ann-B.json"
    text = exported.read_text()
    assert "kind" not in text
    result = CliRunner().invoke(
        main, ["review", "score", str(exported), "--key", str(tmp_path / "review.html.key.json"), "--dataset", str(tmp_path / "set")]
    )
    assert result.exit_code == 0, result.output
    assert "told real from synthetic: 0.900" in result.stdout
    assert "agrees with the labels of synthetic ones: kappa 1.000 (" in result.stdout
    assert "calls real ones usable: 1.000" in result.stdout
    assert "remarks: 1" in result.stdout
    build(Recipe("mitdb", [Quota("N", 5)], formats=["parquet"]), tmp_path / "other")
    wrong = CliRunner().invoke(
        main, ["review", "score", str(exported), "--key", str(tmp_path / "review.html.key.json"), "--dataset", str(tmp_path / "other")]
    )
    assert wrong.exit_code == 1
    assert "was not made of the beats in" in wrong.stderr
    told = CliRunner().invoke(main, ["review", "score", str(exported), "--key", str(tmp_path / "review.html.key.json"), "--json"])
    assert json.loads(told.stdout)["reviewers"][0]["told"] == 10
    assert "## Blind review" in (tmp_path / "set" / "README.md").read_text()
