"""The rows of an evaluation: what a classifier learns from, and what it is tested on."""

from typing import NamedTuple


class Row(NamedTuple):
    """What a classifier learns from and is tested on, each ``"train"``, ``"test"``, ``"synthetic"`` or a control made of the train side.

    Parameters
    ----------
    title : str
        For tables and pages.
    learns : tuple of str
        From what, joined.
    tested_on : str
        The same test side for all rows but those that say otherwise.
    share : float
        How much of the synthetic beats it learns from.
    copies : str
        The row that is its yardstick: the same with copies of training beats in the place of synthetic ones.
    """

    title: str
    learns: tuple[str, ...]
    tested_on: str = "test"
    share: float = 1.0
    copies: str = ""


CONTROLS = ("memorizer", "class-mean")
"""What is made of the train side in the counts of the synthetic beats: copies, and class means with noise."""

ROWS = {
    "real": Row("trained on real beats (TRTR)", ("train",), copies="memorizer"),
    "synthetic": Row("trained on synthetic beats (TSTR)", ("synthetic",), copies="memorizer"),
    "real-on-synthetic": Row("trained on real, tested on synthetic (TRTS)", ("train",), tested_on="synthetic", copies="real-on-memorizer"),
    "real+quarter": Row("trained on real and a quarter of synthetic", ("train", "synthetic"), share=0.25),
    "real+half": Row("trained on real and half of synthetic", ("train", "synthetic"), share=0.5),
    "real+synthetic": Row("trained on real and synthetic beats", ("train", "synthetic"), copies="real+memorizer"),
    "memorizer": Row("control: trained on copies of real beats", ("memorizer",)),
    "real-on-memorizer": Row("control: trained on real, tested on copies", ("train",), tested_on="memorizer"),
    "real+memorizer": Row("control: trained on real beats and copies", ("train", "memorizer")),
    "class-mean": Row("control: trained on class means plus noise", ("class-mean",)),
}
