"""The cards of a dataset and of a model: what is to be known of them, for people as Markdown and for machines as Croissant."""

from ecgsynth.cards.croissant import croissant
from ecgsynth.cards.data import Told, data_card
from ecgsynth.cards.model import model_card

__all__ = ["Told", "croissant", "data_card", "model_card"]
