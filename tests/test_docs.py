"""The documentation explains every number, and no link within it is dead."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ecgsynth.audit import Rule
from ecgsynth.families import FAMILIES
from ecgsynth.metrics.physiology import MEASURES
from ecgsynth.report.measured import WORDS
from ecgsynth.trials import PROTOCOLS

DOCS = Path(__file__).parent.parent / "docs"


def test_every_number_is_explained():
    text = " ".join((DOCS / "measures.md").read_text().split())
    named = [name for family in FAMILIES for name in family.goals] + list(WORDS)
    named += [f"{measure.title} not normal" for measure in MEASURES.values() if measure.limits]
    for name in named:
        plain = name.removesuffix(", ms").removesuffix(", mV") if " moved, " in name else name
        assert plain in text or all(part in text for part in plain.split(": ")), name
    assert all(protocol in text for protocol in PROTOCOLS if protocol != "natural")


def test_every_limit_of_a_policy_is_explained():
    text = (DOCS / "release.md").read_text()
    assert all(f"`{name}`" in text for name in Rule.__dataclass_fields__ if name.startswith(("at_", "of_", "over_")) or name == "end")


def test_every_paper_has_its_address():
    text = (DOCS / "measures.md").read_text()
    links = re.findall(r"\]\((https?://[^)]*(?:\([^)]*\)[^)]*)?)\)", text)
    assert len(links) > 10
    assert all(re.match(r"https://(doi\.org/10\.\d{4,5}/\S+|jmlr\.org/papers/\S+)$", link) for link in links), links


def test_every_number_names_its_paper_or_says_that_it_is_ours_and_every_question_has_a_word_for_each_reader():
    text = (DOCS / "measures.md").read_text()
    cells = [line.strip("| \n").split(" | ")[-1] for line in text.splitlines() if line.startswith("| ") and not line.startswith("| number")]
    assert len(cells) > 20
    assert all("](https://" in cell or cell.startswith("ours") for cell in cells), cells
    for part in text.split("\n## ")[1:]:
        readers = [f"*For {reader}.*" for reader in ("the clinician", "the data protection officer", "the statistician")]
        assert all(reader in part for reader in readers), part[:40]
        assert "*Limits.*" in part


def test_no_link_of_the_readme_is_dead():
    """Relative ones: the file is there, and the heading in it."""
    prose = re.sub(r"^```.*?^```", "", (DOCS.parent / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", prose)
    assert len(links) > 10
    for link in links:
        name, _, heading = link.partition("#")
        path = DOCS.parent / name
        assert path.is_file(), link
        heads = [
            re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")
            for head in re.findall(r"^#+ (.*)", path.read_text(errors="replace"), re.M)
        ]
        assert not heading or heading in heads, link


@pytest.mark.filterwarnings("default")
def test_the_documentation_builds_without_a_dead_link(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path / "html")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "What each number means" in (tmp_path / "html" / "index.html").read_text()
    (tmp_path / "docs").mkdir()
    for name, text in {"conf.py": (DOCS / "conf.py").read_text(), "index.md": "# T\n\n[dead](nowhere.md)\n"}.items():
        (tmp_path / "docs" / name).write_text(text)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", str(tmp_path / "docs"), str(tmp_path / "dead")]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode != 0  # the check can fail
