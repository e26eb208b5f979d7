"""The report as a reader meets it, in a real browser."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from browser import chromium
from reported import HISTORY, SPLIT, make_beats, make_evaluation

from ecgsynth import report
from ecgsynth.report.explorer import STEP_MV, explorer_data


def test_the_map_holds_every_beat_as_it_is():
    real, synthetic = make_beats(), make_beats("cnn-gan", records="", seed=1)
    data = json.loads(explorer_data(real, synthetic))
    signals = np.frombuffer(base64.b64decode(data["signals"]), dtype="<i2").reshape(-1, data["n_samples"]) * data["step"]
    np.testing.assert_allclose(signals, np.concatenate([real.signals, synthetic.signals]), atol=STEP_MV / 2 + 1e-6)
    assert data["points"]["kind"] == [0] * len(real) + [1] * len(synthetic)
    assert data["points"]["class"] == [*real.classes.tolist(), *synthetic.classes.tolist()]
    places = np.stack([data["points"]["x"], data["points"]["y"]], axis=1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    unlike = np.sqrt(((signals[:, None] - signals[None]) ** 2).mean(axis=2))
    assert (apart <= unlike + 0.01).all()  # a projection brings beats nearer, never farther


def test_hostile_names_stay_text():
    real = make_beats(records="</script><script>alert(1)</script>")
    assert "<" not in explorer_data(real, make_beats("cnn-gan"))


@pytest.mark.parametrize(
    "arguments", [(), ("--blink-settings=preferredColorScheme=0",), ("--window-size=420,900",)], ids=["light", "dark", "narrow"]
)
def test_the_page_in_a_browser(tmp_path, arguments):
    """No error, every picture drawn, every link leads somewhere, nothing wider than the page, and the map answers."""
    evaluation = make_evaluation()
    page = report.save_report(tmp_path / "report.html", evaluation, history=HISTORY, split=SPLIT)
    with chromium(tmp_path, *arguments) as browser:
        from selenium.webdriver.common.keys import Keys
        from selenium.webdriver.support.ui import Select

        browser.get(page.as_uri())
        pictures = browser.find_elements("css selector", "svg")
        assert len(pictures) > 8
        assert all(picture.size["width"] > 20 and picture.size["height"] > 20 for picture in pictures)
        for link in browser.find_elements("css selector", "a[href^='#']"):
            assert browser.find_elements("id", link.get_attribute("href").partition("#")[2])
        wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        area = browser.find_element("id", "explorer-map")
        assert "60 of 60" in browser.find_element("id", "explorer-count").text
        assert browser.find_element("css selector", ".dot.chosen").get_attribute("data-number") == "0"
        places = browser.execute_script(
            "return [...document.querySelectorAll('.dot')].map(d => { const b = d.getBBox();"
            " return [Number(d.dataset.number), b.x + b.width / 2, b.y + b.height / 2]; })"
        )
        at = {number: (x, y) for number, x, y in places}
        for key, (dx, dy) in {Keys.ARROW_RIGHT: (1, 0), Keys.ARROW_UP: (0, -1), Keys.ARROW_LEFT: (-1, 0)}.items():
            before = int(browser.find_element("css selector", ".dot.chosen").get_attribute("data-number"))
            area.send_keys(key)
            after = int(browser.find_element("css selector", ".dot.chosen").get_attribute("data-number"))
            moved = np.subtract(at[after], at[before]) @ (dx, dy)
            assert moved > -1 if after != before else not any(np.subtract(place, at[before]) @ (dx, dy) > 1 for place in at.values())
        area.send_keys(Keys.END)
        assert browser.find_element("css selector", ".dot.chosen").get_attribute("data-number") == "59"
        area.send_keys(Keys.HOME)
        assert browser.find_element("css selector", ".dot.chosen").get_attribute("data-number") == "0"
        Select(browser.find_element("id", "explorer-class")).select_by_visible_text("V")
        Select(browser.find_element("id", "explorer-kind")).select_by_visible_text("synthetic")
        assert "6 of 60" in browser.find_element("id", "explorer-count").text
        assert browser.find_element("id", "explorer-text").text.startswith("synthetic beat, V")
        browser.execute_script("arguments[0].scrollIntoView()", area)
        target = browser.find_elements("css selector", ".dot:not(.off)")[3]
        browser.execute_script(
            "const b = arguments[0].getBoundingClientRect();"
            "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: b.x + b.width / 2, clientY: b.y + b.height / 2}))",
            target,
        )
        chosen = browser.find_element("css selector", ".dot.chosen")
        assert chosen.get_attribute("data-number") == target.get_attribute("data-number")
        printed = base64.b64decode(browser.print_page())
        assert printed.startswith(b"%PDF")
        assert browser.get_log("browser") == []


def test_a_page_of_few_beats_still_has_its_map(tmp_path):
    one = make_beats(each=1, classes=("N",))
    page = report.render(make_evaluation(real=one, synthetic=replace(one, source="cnn-gan")))
    assert '"x":[0.0,0.0]' in page
