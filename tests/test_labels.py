import numpy as np
import pytest

from ecgsynth.labels import AAMI_CLASSES, MITDB_SYMBOLS, aami_classes


def test_symbols_map_to_the_classes_of_ec57():
    expected = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
    assert set(expected) == set(AAMI_CLASSES)
    assert {s for symbols in expected.values() for s in symbols} == set(MITDB_SYMBOLS)
    for name, symbols in expected.items():
        assert (aami_classes(np.array(list(symbols))) == name).all()
    with pytest.raises(KeyError):
        aami_classes(np.array(["+"]))  # a rhythm change, no beat


def test_no_symbols_have_no_classes_which_are_text_still():
    classes = aami_classes(np.array([], dtype=np.str_))
    assert (classes.shape, classes.dtype) == ((0,), "U1")
