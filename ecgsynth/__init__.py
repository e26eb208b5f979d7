"""Labelled synthetic ECG heartbeats, with the proof of what they are worth."""

from importlib.metadata import version

from ecgsynth.beats import Beats, concatenate, extract_beats
from ecgsynth.classifier import BeatClassifier
from ecgsynth.errors import EcgsynthError
from ecgsynth.evaluation import Evaluation, evaluate
from ecgsynth.generators import GENERATORS, class_counts, load_generator
from ecgsynth.records import LEADS, Record, read_record, read_records
from ecgsynth.report import save_report
from ecgsynth.simulate import simulate_records
from ecgsynth.splits import Split, split_beats

__version__ = version("ecgsynth")

__all__ = [
    "GENERATORS",
    "LEADS",
    "BeatClassifier",
    "Beats",
    "EcgsynthError",
    "Evaluation",
    "Record",
    "Split",
    "class_counts",
    "concatenate",
    "evaluate",
    "extract_beats",
    "load_generator",
    "read_record",
    "read_records",
    "save_report",
    "simulate_records",
    "split_beats",
]
