import dataclasses
import html
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from reported import HISTORY, SHARES, SPLIT, make_beats, make_evaluation

from ecgsynth import report
from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import TrainingStep
from ecgsynth.labels import AAMI_CLASSES, CLASS_NAMES
from ecgsynth.metrics.utility import score_classes
from ecgsynth.report import charts, figures
from ecgsynth.report.explorer import script_digest
from ecgsynth.report.words import class_sentences, findings, headline, of_100, source_of
from ecgsynth.rows import ROWS

HOSTILE = "<script>alert(1)</script>\"'&$x_{$"


class Reader(HTMLParser):
    """Collects tags, the attributes that load something, ids, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.ids, self.text = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
                self.links.append((tag, value))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def evaluation():
    return make_evaluation()


@pytest.fixture(scope="module")
def page(evaluation):
    return report.render(evaluation, history=HISTORY, split=SPLIT)


def test_needs_nothing_outside_itself(page):
    reader = Reader(page)
    assert page.startswith("<!DOCTYPE html>")
    assert not {"link", "img", "image", "iframe", "object", "embed"} & set(reader.tags)
    assert reader.tags.count("script") == 2  # the beats of the map, and what draws it
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json" id="explorer-data">', "<script>"]
    assert f"script-src 'sha256-{script_digest()}'" in page
    assert all(value.startswith("#") or (tag == "a" and value.startswith("https://doi.org/")) for tag, value in reader.links)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert len(page) < 3_000_000


def test_ids_are_unique_and_every_reference_meets_one(page):
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    referred = {value[1:] for _, value in reader.links if value.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert referred <= set(reader.ids)


def test_one_picture_a_figure(evaluation, page):
    assert page.count("<svg ") == page.count('role="img"') == len(AAMI_CLASSES) + 4
    without = report.render(evaluation, split=SPLIT)
    assert without.count("<svg ") == len(AAMI_CLASSES) + 3
    assert "This generator has no training curves" in without
    assert "This generator has no training curves" not in page


def test_hostile_strings_are_escaped():
    evaluation = make_evaluation(
        real=make_beats(source=HOSTILE, records=HOSTILE),
        settings={
            "generator": HOSTILE,
            "seeds": [HOSTILE],
            "classifier": {HOSTILE: HOSTILE},
            "synthetic": {"seed": HOSTILE, "model_sha256": HOSTILE},
        },
    )
    split = SPLIT | {"notes": [HOSTILE], "scheme": HOSTILE, "seed": HOSTILE}
    page = report.render(evaluation, split=split)
    assert page.count("<script") == 2  # the page's own
    assert Reader(page).text.count(HOSTILE) >= 8
    assert Reader(page).tags.count("script") == 2


@pytest.mark.parametrize("per_class", [1, 4])
def test_ecg_paper_is_at_true_scale(per_class):
    figure = figures.real_beside_generated(make_beats(), make_beats("gan", seed=1), per_class=per_class)
    assert len(figure.axes) == 2 * len(AAMI_CLASSES)
    width, height = figure.get_size_inches() * 25.4
    for axes in figure.axes:
        box, (left, right), (low, high) = axes.get_position(), axes.get_xlim(), axes.get_ylim()
        assert box.width * width / (right - left) == pytest.approx(25)
        assert box.height * height / (high - low) == pytest.approx(10)
        mark = next(line for line in axes.lines if len(line.get_xdata()) == 6)
        assert np.ptp(mark.get_ydata()) == 1
        assert low <= 0
        assert high >= 1
    svg = figures.to_svg(figure, key="k", label="a label")
    size = re.search(r'width="([\d.]+)mm" height="([\d.]+)mm" viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    mm_wide, mm_high, wide, high = map(float, size.groups())
    assert (mm_wide, mm_high) == pytest.approx((width, height), abs=1e-3)
    assert mm_wide / wide == pytest.approx(25.4 / 72, rel=1e-4)
    assert mm_high / high == pytest.approx(25.4 / 72, rel=1e-4)


def test_the_1_mv_mark_is_10_mm_high_in_the_page(page):
    """Read from the path itself, in points."""
    paper = page[page.index('aria-label="ECG paper, class V') :]
    heights = [
        np.ptp([float(y) for _, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path)])
        for path in re.findall(r'<path d="([^"]+)"', paper[: paper.index("</svg>")])
        if len(re.findall("[ML] ", path)) == 6
    ]
    assert 10 in [pytest.approx(height * 25.4 / 72, abs=0.01) for height in heights]


def test_the_page_uses_paper_that_fits_a4(page):
    widths = [float(width) for width in re.findall(r'width="([\d.]+)mm"', page)]
    assert max(widths) <= 186.001


def test_long_beats_are_fewer_a_strip():
    real = Beats(signals=np.zeros((3, 720)), classes=np.array(list("NNV")))
    evaluation = make_evaluation(real=real, synthetic=dataclasses.replace(real, source="gan"))
    assert float(re.search(r'aria-label="ECG paper[^>]*width="([\d.]+)mm"', report.render(evaluation))[1]) <= 186.001


def test_wild_and_missing_beats_are_drawn():
    real = make_beats(classes=("N", "V"))
    wild = Beats(signals=np.full((2, 256), 40.0), classes=np.array(["N", "F"]), source="gan")
    figure = figures.real_beside_generated(real, wild)
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "no beat of this class" in texts
    assert figure.get_size_inches()[1] * 25.4 < 3 * 115
    assert any("cut off" in axes.get_title(loc="right") for axes in figure.axes)


def test_words_say_what_the_scores_are(evaluation, page):
    found, right = (evaluation.by_class("synthetic", measure) for measure in ("sensitivity", "positive_predictivity"))
    reference = evaluation.by_class("real", "sensitivity")
    for name, sentence in class_sentences(evaluation).items():
        assert html.escape(sentence) in page
        pattern = r"finds (\d+)(?: \(between [^)]*\))?, against (\d+) when trained on real beats.* right (\d+) times of 100"
        numbers = re.findall(pattern, sentence)
        assert [tuple(map(int, row)) for row in numbers] == [tuple(round(100 * part[name]) for part in (found, reference, right))]
        assert CLASS_NAMES[name] in sentence
        interval = evaluation.intervals("synthetic")[f"Se {name}"]
        assert f"(between {of_100(interval.low)} and {of_100(interval.high)})" in sentence
        assert ("only 20 test beats" in sentence) == (name == "Q")
    for row in ("synthetic", "real"):
        assert f"{evaluation.spread(row)[0]:.3f}" in headline(evaluation)
        interval = evaluation.intervals(row)["macro-F1"]
        assert f"{interval.low:.3f} to {interval.high:.3f}" in headline(evaluation)


def test_table_holds_every_score(evaluation, page):
    text = re.sub(r"\s+", " ", Reader(page).text)
    for row in ROWS:
        for measure in ("macro_f1", "accuracy"):
            mean, deviation = evaluation.spread(row, measure)
            assert f"{mean:.3f} ± {deviation:.3f}" in text
        for measure, shown in (("sensitivity", "{:.1f}"), ("positive_predictivity", "{:.1f}"), ("f1", "{:.3f}")):
            cells = "".join(
                f"<td>{shown.format(v if measure == 'f1' else 100 * v)}</td>" for v in evaluation.by_class(row, measure).values()
            )
            assert cells in page


def test_counts_split_and_model_are_on_the_page(page):
    for wanted in ("4,321", "1,234", SPLIT["notes"][0], "ab" * 32, "no patient stands both in training and in test", "seed 3"):
        assert wanted in page


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0"), (1, "100"), (0.936, "94"), (0.997, "more than 99"), (0.001, "fewer than 1"), (0.5, "50")]
)
def test_of_100(share, words):
    assert of_100(share) == words


def test_says_so_when_worse_than_class_means():
    bad = make_evaluation(SHARES | {"synthetic": 0.3})
    assert findings(bad)[0].bad
    assert "worse than the simplest control" in findings(bad)[0].text
    assert report.render(bad).count('class="bad"') == 2  # at the top and among the findings
    good = make_evaluation()
    assert not any(finding.bad for finding in findings(good))
    assert "better than the simplest control" in findings(good)[0].text


def test_says_so_when_seeds_scatter_as_much():
    even = make_evaluation(SHARES | {"synthetic": 0.6, "class-mean": 0.6})
    same = dataclasses.replace(even, classifiers={"cnn": even.rows | {"class-mean": even.rows["synthetic"]}})
    assert findings(same)[0].bad
    assert "within the scatter" in findings(same)[0].text


def test_single_classes_below_the_control_are_named(evaluation):
    better = [dataclasses.replace(scores, f1=scores.f1 | {"F": 0.999}) for scores in evaluation.rows["class-mean"]]
    finding = findings(dataclasses.replace(evaluation, classifiers={"cnn": evaluation.rows | {"class-mean": better}}))[1]
    assert finding.bad
    assert "F (F1 0." in finding.text
    assert "against 0.999" in finding.text


def test_a_class_never_predicted():
    annotated = np.repeat(AAMI_CLASSES, 200)
    scores = score_classes(annotated=annotated, predicted=np.where(annotated == "F", "N", annotated), classes=AAMI_CLASSES)
    sentence = class_sentences(dataclasses.replace(make_evaluation(rows=()), classifiers={"cnn": {"synthetic": [scores]}}))["F"]
    assert "finds 0" in sentence
    assert "it never says fusion" in sentence


@pytest.mark.parametrize("rows", [("synthetic",), ("real",), ("class-mean", "synthetic"), ()])
def test_rows_may_be_missing_and_seeds_single(rows):
    page = report.render(make_evaluation(rows=rows, seeds=1))
    assert "nan" not in Reader(page).text
    assert ("cannot say what they are worth" in page) == ("synthetic" not in rows)


def test_same_input_same_bytes(evaluation, page):
    with matplotlib.rc_context({"font.size": 20, "text.color": "red", "svg.fonttype": "path"}):
        assert report.render(evaluation, history=HISTORY, split=SPLIT) == page


def test_settings_of_matplotlib_stay_as_they_were(evaluation):
    before = dict(matplotlib.rcParams)
    report.render(evaluation, history=HISTORY)
    assert dict(matplotlib.rcParams) == before


def test_simulated_beats_are_not_called_real():
    page = report.render(make_evaluation(real=make_beats("simulated")))
    text = Reader(re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)).text
    assert "simulated records" in text
    assert "no patient's ECG is shown" in text
    assert not re.search(r"\breal\b", re.sub(r"--real", "", text))
    assert "doi.org" not in page


def test_mitdb_is_cited_and_others_are_not(page):
    known = report.render(make_evaluation(real=make_beats(records="208")))
    assert all(text in known for text in ("10.1109/51.932724", "10.13026/C2F305", "ODC-By 1.0"))
    assert "10.13026/C2F305" not in page
    assert "guard it" in page
    assert not source_of(dataclasses.replace(make_beats(records="208"), leads=np.full(30, "II"))).is_mitdb


def test_warns_of_a_generator_that_holds_real_beats():
    evaluation = make_evaluation()
    evaluation.settings["synthetic"]["holds_real_beats"] = True
    assert "guard its model and its beats" in report.render(evaluation)


def test_row_percentages():
    percent = charts.row_percentages([[3, 1, 0], [1, 1, 1], [0, 0, 0]])
    assert percent[:2].sum(axis=1) == pytest.approx([100, 100])
    assert percent[0].tolist() == [75, 25, 0]
    assert percent[2].tolist() == [0, 0, 0]


def test_confusion_shows_percentages_and_counts():
    figure = charts.confusion({"a": [[30, 10], [0, 5]], "b": [[1, 1], [1, 1]]}, ("N", "V"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["75.0 %", "30", "25.0 %", "10", "0.0 %", "0", "100.0 %", "5"]
    for axes in figure.axes:
        shown = [float(text.get_text()[:-2]) for text in axes.texts if "%" in text.get_text()]
        assert np.reshape(shown, (2, 2)).sum(axis=1) == pytest.approx([100, 100])


CURVES = {
    "generator loss": "generator_loss",
    "critic loss": "critic_loss",
    "critic score, real minus generated": "score_gap",
    "validation score (macro-F1)": "validation_score",
    "detection score (0.5 is ideal)": "detection",
}


def test_training_curves_show_the_numbers_of_every_step_and_mark_the_kept_weights():
    assert charts.kept_step(HISTORY).step == 40
    figure = charts.training_curves(HISTORY)
    assert len(figure.axes) == 5
    assert figure.axes[3].lines[-1].get_xydata().tolist() == [[40, 0.4]]
    drawn = {axes.get_title(loc="left"): axes.lines[0].get_xydata() for axes in figure.axes}
    for title, name in CURVES.items():
        known = [(step.step, value) for step in HISTORY if (value := getattr(step, name)) is not None]
        found = drawn[title][np.isfinite(drawn[title][:, 1])]
        np.testing.assert_allclose(found, known)
    unscored = [dataclasses.replace(step, validation_score=None, best=False) for step in HISTORY]
    assert charts.kept_step(unscored) is None
    assert len(charts.training_curves(unscored).axes) == 4  # detection was measured all the same
    bare = [dataclasses.replace(step, detection=None) for step in unscored]
    assert len(charts.training_curves(bare).axes) == 3


def test_a_long_history_is_thinned():
    history = [TrainingStep(step, 0, 1.0, 1.0, float("nan")) for step in range(50_000)]
    figure = charts.training_curves(history)
    assert len(figure.axes) == 2  # nothing to draw of the gap
    assert len(figure.axes[0].lines[0].get_xdata()) <= 2000


def test_figures_refuse_nothing_to_draw():
    real = make_beats(classes=("N",))
    with pytest.raises(ValueError, match="no training step"):
        charts.training_curves(())
    with pytest.raises(ValueError, match="no class in common"):
        figures.spread(real, make_beats("gan", classes=("V",)))
    with pytest.raises(ValueError, match="no beat to draw"):
        figures.real_beside_generated(real, real, per_class=0)


def test_spread_draws_means_and_percentiles():
    real, synthetic = make_beats(classes=("N", "V")), make_beats("gan", seed=2, classes=("N", "V", "F"))
    figure = figures.spread(real, synthetic)
    assert len(figure.axes) == 2
    drawn = [line.get_ydata() for line in figure.axes[1].lines]
    ours = synthetic.signals[synthetic.classes == "V"]
    wanted = [real.signals[real.classes == "V"].mean(axis=0), *np.percentile(ours, [5, 95], axis=0), ours.mean(axis=0)]
    for values in wanted:
        assert any(np.allclose(line, values) for line in drawn)


def test_svg_label_is_escaped():
    assert f'aria-label="{html.escape(HOSTILE)}"' in figures.to_svg(charts.training_curves(HISTORY), key="k", label=HOSTILE)


def test_save_report(tmp_path, evaluation):
    path = report.save_report(tmp_path / "new" / "report.html", evaluation, split=SPLIT)
    assert path.read_text(encoding="utf-8") == report.render(evaluation, split=SPLIT)
    with pytest.raises(EcgsynthError, match="exists"):
        report.save_report(path, evaluation)
    report.save_report(path, evaluation, force=True)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
