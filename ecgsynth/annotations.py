"""WFDB annotation files: what stands at which time, and the clock that counts it."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.errors import EcgsynthError

SYMBOLS = ' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'
"""The symbol of each code, by its place."""

_NOTE, _SKIP, _NUMBER, _SUBTYPE, _CHANNEL, _TEXT = 22, 59, 60, 61, 62, 63
_LARGEST = 1 << 24  # bytes: a month of annotations
_CLOCKS = (1.0, 1e9)  # ticks a second
_CLOCK = re.compile(r"## time resolution: (\d{1,20}(?:\.\d{1,20})?)")
_OWN = re.compile(r"(\d{1,3}) (\S) ")  # a code and its symbol, of one letter


class Annotations(NamedTuple):
    """All annotations of a file.

    Parameters
    ----------
    symbols : array of str, shape (n,)
        Of each; a blank where its code has none.
    ticks : array of int64, shape (n,)
        The time of each.
    clock : float or None
        Ticks a second; those of the record's own frames where the file does not say.
    """

    symbols: NDArray[np.str_]
    ticks: NDArray[np.int64]
    clock: float | None


def read_annotations(path: Path) -> Annotations:
    """Read an annotation file in the MIT format, once through, whatever is in it.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    EcgsynthError
        If it is cut short, or none of these.

    References
    ----------
    Moody GB. WFDB Applications Guide, annot(5): https://physionet.org/physiotools/wag/annot-5.htm
    """
    if path.stat().st_size > _LARGEST:
        raise EcgsynthError(f"{path.name} is no annotation file: it is larger than {_LARGEST:,} bytes")
    data = path.read_bytes()
    if len(data) % 2 or data[-2:] != b"\0\0":  # the format closes with a zero word
        raise EcgsynthError(f"{path.name} is cut short or no annotation file")
    try:
        codes, ticks, texts = _words(data)
    except IndexError as error:
        raise EcgsynthError(f"{path.name} is cut short or no annotation file") from error
    symbols, clock, defining = dict(enumerate(SYMBOLS)), None, False
    for number, text in texts.items():
        if codes[number] != _NOTE or ticks[number] != 0:  # only notes before all else are of the file itself
            continue
        defining = text.startswith("## annotation type definitions") or (defining and not text.startswith("## "))
        if found := _CLOCK.match(text):
            clock = float(found[1])
        elif defining and (own := _OWN.match(text)):
            symbols[int(own[1])] = own[2]
    if clock is not None and not _CLOCKS[0] <= clock <= _CLOCKS[1]:
        raise EcgsynthError(f"{path.name} has a clock of {clock:g} ticks a second, which cannot be")
    there = np.array(codes, dtype=np.int64) != 0  # which stands for none
    known = np.array([symbols.get(code, " ") for code in codes], dtype="U1")
    return Annotations(known[there], np.array(ticks, dtype=np.int64)[there], clock)


def _words(data: bytes) -> tuple[list[int], list[int], dict[int, str]]:
    """Take the words apart: code and time of each annotation, and the text of those that have one, by their number."""
    words = np.frombuffer(data, dtype="<u2").tolist()
    codes: list[int] = []
    ticks: list[int] = []
    texts: dict[int, str] = {}
    place = time = 0
    while words[place]:
        code, value = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if code == _SKIP:
            step = words[place] << 16 | words[place + 1]
            time += step - (step >> 31 << 32)
            place += 2
        elif code == _TEXT:
            texts[len(codes) - 1] = data[2 * place : 2 * place + value].decode("latin-1")
            place += -(-value // 2)
        elif code not in (_NUMBER, _SUBTYPE, _CHANNEL):
            time += value
            codes.append(code)
            ticks.append(time)
    return codes, ticks, texts
