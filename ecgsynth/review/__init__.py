"""Blind review: whether people who read ECGs can tell synthetic beats from real ones, and agree with their labels."""

from ecgsynth.review.card import add_to_card
from ecgsynth.review.page import Review, make_review
from ecgsynth.review.score import Answers, Judged, read_answers, read_key, score_review

__all__ = ["Answers", "Judged", "Review", "add_to_card", "make_review", "read_answers", "read_key", "score_review"]
