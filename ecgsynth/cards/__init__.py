"""The cards of a dataset: what is to be known of it, for people as Markdown and for machines as Croissant."""

from ecgsynth.cards.croissant import croissant
from ecgsynth.cards.data import Told, data_card, model_card

__all__ = ["Told", "croissant", "data_card", "model_card"]
