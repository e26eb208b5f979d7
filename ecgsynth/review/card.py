"""What reviewers found, in the card of the dataset that they judged."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ecgsynth.build import SUMS
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, sha256
from ecgsynth.places import place
from ecgsynth.review.score import ALL, Judged
from ecgsynth.verify import read_sums

CARD = "README.md"

_TITLE = "## Blind review"
_TEXT = (
    "People who read ECGs judged beats of this dataset and real ones, mixed and without their labels (`ecgsynth review`). Shares have "
    "Wilson's 95 % interval, those of several reviewers together one over items; told apart by half of them is what guessing reaches; "
    "kappa is Cohen's, with its interval over items."
)


def add_to_card(folder: str | Path, found: Sequence[Judged]) -> None:
    """Write what came of a review into a dataset's card, in the place of what stood there of one before.

    The card and its checksum take their names one after the other, the checksum first. A call that is stopped between them leaves one
    that only the card which the same call writes will match, by which that call knows it, and makes it good.

    Raises
    ------
    EcgsynthError
        If the folder is no dataset, or its card is not as its checksums say.
    """
    folder = place(folder)
    sums = read_sums(folder)
    path = folder / CARD
    text = _with_review(path.read_bytes(), found) if path.is_file() else b""
    made = hashlib.sha256(text).hexdigest()
    if not text or sums.get(CARD) not in (sha256(path), made):
        raise EcgsynthError(f"{path} is not as it was: `ecgsynth verify {folder}` says what else is not")
    lines = "".join(f"{digest}  {name}\n" for name, digest in {**sums, CARD: made}.items())
    with atomic_path(path, force=True) as card, atomic_path(folder / SUMS, force=True) as temporary:  # the inner one is put there first
        card.write_bytes(text)
        temporary.write_text(lines, encoding="utf-8")


def _with_review(card: bytes, found: Sequence[Judged]) -> bytes:
    """Put what was found into a card."""
    before, _, rest = card.decode("utf-8", errors="replace").partition(f"\n{_TITLE}\n")
    _, mark, after = rest.partition("\n## ")
    sections = "\n\n".join(_section(number, judged) for number, judged in enumerate(found, start=1))
    text = f"{before.rstrip()}\n\n{_TITLE}\n\n{_TEXT}\n\n{sections}\n" + (f"\n## {after}" if mark else "")
    return text.encode()


def _section(number: int, judged: Judged) -> str:
    """Say what one reviewer found, whose name stays out of what is shared."""
    who = "All together" if judged.reviewer == ALL else f"Reviewer {number}"
    return "\n".join([f"{who}:", "", *(f"- {line.strip()}" for line in judged.lines())])
