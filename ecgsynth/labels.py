"""Annotation symbols and the AAMI classes they belong to.

References
----------
ANSI/AAMI EC57:1998, Testing and reporting performance results of cardiac rhythm and ST segment
measurement algorithms. Symbols: https://physionet.org/physiotools/wpg/wpg_35.htm
"""

import numpy as np
from numpy.typing import NDArray

AAMI_CLASSES = ("N", "S", "V", "F", "Q")

CLASS_NAMES = {
    "N": "normal and bundle branch block",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion",
    "Q": "paced or unclassifiable",
}

MITDB_SYMBOLS = ("N", "L", "R", "V", "/", "A", "f", "F", "j", "a", "E", "J", "Q", "e", "S")
"""The 15 beat symbols of MIT-BIH, by falling count."""

SYMBOL_TO_CLASS = {
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
    # Beat symbols of WFDB that MIT-BIH does not use.
    **dict.fromkeys("Bn", "N"),
    "r": "V",
    "?": "Q",
}

CLASS_TO_SYMBOL = {"N": "N", "S": "S", "V": "V", "F": "F", "Q": "Q"}
"""The symbol that says no more of a beat than its class: any supraventricular premature beat is ``S``, any unclassifiable one ``Q``."""

SYMBOL_NAMES = {
    "N": "normal",
    "L": "left bundle branch block",
    "R": "right bundle branch block",
    "B": "bundle branch block",
    "A": "atrial premature",
    "a": "aberrated atrial premature",
    "J": "nodal premature",
    "S": "supraventricular premature",
    "V": "ventricular premature",
    "r": "R-on-T ventricular premature",
    "F": "fusion of ventricular and normal",
    "e": "atrial escape",
    "j": "nodal escape",
    "n": "supraventricular escape",
    "E": "ventricular escape",
    "/": "paced",
    "f": "fusion of paced and normal",
    "Q": "unclassifiable",
    "?": "not classified",
}

LABEL_NAMES = {"class": CLASS_NAMES, "symbol": SYMBOL_NAMES}

LABELS = {
    "class": AAMI_CLASSES,
    "symbol": (*MITDB_SYMBOLS, *(symbol for symbol in SYMBOL_TO_CLASS if symbol not in MITDB_SYMBOLS)),
}
"""What beats can be told apart by, and all labels of each kind in their order."""


def aami_classes(symbols: NDArray[np.str_]) -> NDArray[np.str_]:
    """Map beat annotation symbols to AAMI classes.

    Parameters
    ----------
    symbols : array of str, shape (n,)
        Beat annotation symbols.

    Returns
    -------
    array of str, shape (n,)
        ``"N"``, ``"S"``, ``"V"``, ``"F"`` or ``"Q"``.

    Raises
    ------
    KeyError
        For a symbol that does not annotate a beat.

    Examples
    --------
    >>> aami_classes(np.array(["L", "a", "/"])).tolist()
    ['N', 'S', 'Q']
    """
    return np.array([SYMBOL_TO_CLASS[symbol] for symbol in symbols.tolist()], dtype="U1")
