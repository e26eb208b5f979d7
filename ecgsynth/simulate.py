"""Simulated ECG: labelled records and single beats of all five AAMI classes from a mechanistic model.

Every beat is a sum of Gaussian waves around its R peak, the limit-cycle model of McSharry et al. (2003).
There the height z of the trajectory obeys ``dz/dt = -sum_i a_i dtheta_i exp(-dtheta_i^2 / (2 b_i^2)) - (z - z_0)``
while the phase theta turns once a beat at the angular velocity ``omega``. On the cycle, without the slow
pull towards ``z_0``, this integrates to ``z = z_0 + sum_i (a_i b_i^2 / omega) exp(-dtheta_i^2 / (2 b_i^2))``:
Gaussians of amplitude ``a_i b_i^2 / omega`` and width ``b_i / omega`` in time, which are what is drawn here.

Notes
-----
Deviations from the paper:

- the closed form is used in place of Runge-Kutta integration, so the relaxation ``-(z - z_0)`` is left out
  and the baseline ``z_0`` is added;
- waves are placed in seconds, not in phase: those of the QRS complex and P keep their width at any rate, T
  moves and widens with the square root of the RR interval (at fixed phases all would stretch with RR itself);
- T is two Gaussians, so asymmetric, and a second R wave makes notched QRS complexes;
- the bimodal RR spectrum (Mayer waves near 0.1 Hz, respiration near 0.25 Hz) is a sum of cosines at drawn
  frequencies, taken at the nominal beat times, in place of an inverse Fourier transform;
- bundle branch block, premature, fusion and paced beats are additions, as is the timing of each. A premature
  ventricular beat hides the sinus P wave that falls into it.

References
----------
McSharry PE, Clifford GD, Tarassenko L, Smith LA. A dynamical model for generating synthetic electrocardiogram
signals. IEEE Trans Biomed Eng 50(3):289-294, 2003. doi:10.1109/TBME.2003.808805
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ecgsynth.errors import EcgsynthError
from ecgsynth.records import Record

Floats = NDArray[np.float64]

BAND = (0.5, 40.0)
MARGIN = 0.5
"""Seconds drawn on each side of a single beat's window, so that no wave of a neighbouring window reaches it."""
CHUNK = 1000
"""Single beats drawn at a time, so that memory stays small."""

# The waves of a beat, and for each the lowest and highest amplitude (mV), time after the R peak (s) and width (s,
# one standard deviation). QRS complexes follow of about 80 ms (N), 120 ms (R) and 160-175 ms (L, V, paced).
# A paced beat has its spike in P's place.
_WAVES = ("P", "Q", "R", "R'", "S", "T-", "T+")
_QRS = slice(1, 5)
_T = slice(5, 7)
_RANGES = {
    "N": [
        [(0.10, 0.20), (-0.15, -0.02), (0.85, 1.65), (0, 0), (-0.40, -0.05), (0.05, 0.13), (0.15, 0.28)],
        [(-0.19, -0.15), (-0.032, -0.027), (0, 0), (0, 0), (0.030, 0.036), (0.19, 0.22), (0.26, 0.29)],
        [(0.018, 0.023), (0.008, 0.010), (0.011, 0.0135), (0.01, 0.01), (0.010, 0.013), (0.045, 0.060), (0.032, 0.042)],
    ],
    "L": [
        [(0.10, 0.18), (0, 0), (0.6, 1.2), (0.4, 1.0), (-0.5, -0.15), (-0.25, -0.10), (-0.30, -0.10)],
        [(-0.22, -0.18), (0, 0), (0, 0), (0.040, 0.050), (0.085, 0.095), (0.19, 0.22), (0.26, 0.30)],
        [(0.018, 0.023), (0.01, 0.01), (0.019, 0.023), (0.017, 0.021), (0.015, 0.018), (0.050, 0.060), (0.040, 0.050)],
    ],
    "R": [
        [(0.10, 0.20), (-0.10, -0.02), (0.9, 1.6), (0, 0), (-0.8, -0.4), (0.03, 0.10), (0.10, 0.25)],
        [(-0.20, -0.15), (-0.030, -0.026), (0, 0), (0, 0), (0.050, 0.060), (0.20, 0.23), (0.27, 0.30)],
        [(0.018, 0.023), (0.007, 0.009), (0.011, 0.013), (0.01, 0.01), (0.016, 0.022), (0.045, 0.060), (0.035, 0.045)],
    ],
    "V": [
        [(0, 0), (0.1, 0.7), (1.2, 2.1), (0.1, 0.6), (-0.6, -0.1), (-0.50, -0.20), (-0.45, -0.15)],
        [(0, 0), (-0.045, -0.030), (0, 0), (0.035, 0.048), (0.078, 0.088), (0.19, 0.23), (0.27, 0.31)],
        [(0.01, 0.01), (0.013, 0.017), (0.021, 0.027), (0.013, 0.018), (0.013, 0.017), (0.050, 0.065), (0.045, 0.055)],
    ],
    "/": [
        [(0.7, 1.4), (0, 0), (1.0, 1.8), (0, 0), (-0.9, -0.4), (0.10, 0.25), (0.20, 0.45)],
        [(-0.080, -0.065), (0, 0), (0, 0), (0, 0), (0.062, 0.075), (0.20, 0.24), (0.28, 0.32)],
        [(0.0025, 0.0025), (0.01, 0.01), (0.018, 0.023), (0.01, 0.01), (0.018, 0.023), (0.050, 0.065), (0.045, 0.055)],
    ],
}
_CLASS_SYMBOL = {"N": "N", "S": "A", "V": "V", "F": "F", "Q": "/"}
_ECTOPIC_SHARE = {"F": 0.02, "A": 0.045, "V": 0.07}  # the rarest first: a short record may run out of places
_PACED_SHARE = 0.4


def simulate_records(*, n_patients: int = 12, minutes: float = 5.0, fs: float = 360.0, seed: int = 0) -> Iterator[Record]:
    """Simulate one record a patient, lazily.

    Every patient has atrial (``A``), ventricular (``V``) and fusion beats (``F``), each their own share of
    them. Of six patients one has left (``L``) and one right bundle branch block (``R``), and two are paced
    (``/``) for a stretch of the record.

    Parameters
    ----------
    n_patients : int
        How many; the first ones are the same for any number from three on.
    minutes : float
        Length of each record, at least 0.5 min.
    fs : float
        Sampling rate, at least 100 Hz.
    seed : int
        Same seed, same records.

    Yields
    ------
    Record
        ``sim01``, ``sim02``, ... with one lead, MLII.

    Raises
    ------
    EcgsynthError
        If there is no patient, or the length or the rate is too small.

    Examples
    --------
    >>> record = next(simulate_records(minutes=1, seed=3))
    >>> record.name, record.signals.shape, record.leads
    ('sim01', (21600, 1), ('MLII',))
    """
    if n_patients < 1 or not minutes >= 0.5 or not fs >= 100:
        raise EcgsynthError(f"at least 1 patient, 0.5 minutes and 100 Hz are needed, not {n_patients}, {minutes:g} and {fs:g}")
    # The checks above must not wait for the first record.
    first_paced = min(2, n_patients - 1)
    return (
        _simulate_record(number, minutes * 60, fs, number % 3 == first_paced, np.random.default_rng([seed, number]))
        for number in range(n_patients)
    )


def simulate_beats(
    aami_class: str, count: int, *, rng: np.random.Generator, fs: float = 360.0, n_before: int = 108, n_after: int = 148
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Simulate single beats of one class, each of another patient.

    Parameters
    ----------
    aami_class : str
        ``"N"``, ``"S"``, ``"V"``, ``"F"`` or ``"Q"``.
    count : int
        How many.
    rng : numpy.random.Generator
        Source of all randomness.
    fs : float
        Sampling rate in Hz.
    n_before, n_after : int
        Samples before the R peak, and from it on.

    Returns
    -------
    signals : array of float32, shape (count, n_before + n_after)
        mV, 0.5 to 40 Hz; with the waves of the neighbouring beats that reach into the window.
    rr_before, rr_after : array of float32, shape (count,)
        Time from the beat before and to the beat after, s.
    rr_mean : array of float32, shape (count,)
        The patient's usual RR interval, s.

    Raises
    ------
    EcgsynthError
        If the class is unknown.

    Examples
    --------
    >>> signals, rr_before, rr_after, rr_mean = simulate_beats("V", 3, rng=np.random.default_rng(0))
    >>> signals.shape, bool((rr_before < rr_mean).all())
    ((3, 256), True)
    """
    if aami_class not in _CLASS_SYMBOL:
        raise EcgsynthError(f"unknown class {aami_class!r}; known: {', '.join(_CLASS_SYMBOL)}")
    chunks = [_simulate_chunk(aami_class, min(CHUNK, count - start), rng, fs, n_before, n_after) for start in range(0, count, CHUNK)]
    if not chunks:
        none = np.zeros(0, np.float32)
        return np.zeros((0, n_before + n_after), np.float32), none, none, none
    signals, rr_before, rr_after, rr_mean = (np.concatenate(parts).astype(np.float32) for parts in zip(*chunks, strict=True))
    return signals, rr_before, rr_after, rr_mean


def _simulate_chunk(
    aami_class: str, count: int, rng: np.random.Generator, fs: float, n_before: int, n_after: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Simulate beats with their neighbours, each beat on its own stretch of one long timeline."""
    conduction = rng.choice(["N", "L", "R"], size=count, p=[0.82, 0.09, 0.09]) if aami_class in "NS" else np.full(count, "N")
    around = "/" if aami_class == "Q" else "N"
    symbols = np.tile([around, _CLASS_SYMBOL[aami_class], around], count)
    usual = rng.uniform(0.6, 1.05, count)
    before, after = (factor[1::3] for factor in _prematurity(symbols, rng))
    spread = 0.005 if aami_class == "Q" else 0.04
    rr_before, rr_after = usual * before * rng.normal(1, spread, count), usual * after * rng.normal(1, spread, count)
    shapes = {kind: np.repeat(shape, 3, axis=0) for kind, shape in _draw_patients(conduction, rng).items()}
    waves = _compose(symbols, shapes, np.repeat(usual, 3), rng)

    margin = round(MARGIN * fs)
    length = n_before + n_after + 2 * margin
    peaks = np.stack([-rr_before, np.zeros(count), rr_after], axis=1)
    waves[..., 1] += peaks.reshape(-1, 1) + (margin + n_before) / fs
    waves[(waves[..., 1] < 0) | (waves[..., 1] > length / fs), 0] = 0  # it would lie on a neighbour's stretch
    waves[..., 1] += np.repeat(np.arange(count), 3)[:, None] * (length / fs)
    noise = np.repeat(rng.uniform(0.005, 0.03, count), length) * rng.standard_normal(count * length)
    timeline = _band_pass(_render(waves, count * length, fs) + noise, fs)
    return timeline.reshape(count, length)[:, margin : margin + n_before + n_after], rr_before, rr_after, usual


def _simulate_record(number: int, seconds: float, fs: float, paced: bool, rng: np.random.Generator) -> Record:
    usual_rr = 60 / float(rng.uniform(58, 92))
    fitting = int(seconds / usual_rr)
    symbols = _draw_rhythm(fitting, paced, rng)
    breath = float(rng.uniform(0.2, 0.3))
    sinus = usual_rr * (1 + rng.uniform(0.02, 0.05) * _variability(np.arange(len(symbols)) * usual_rr, breath, rng))
    rr = np.where(symbols == "/", usual_rr * rng.uniform(0.95, 1.05), sinus)
    before, after = _prematurity(symbols, rng)
    rr = rr * before * np.concatenate([[1.0], after[:-1]])
    peaks = np.rint((np.cumsum(rr) - rr[0] + rng.uniform(0.1, 0.9)) * fs).astype(np.int64)

    conduction = {1: "L", 4: "R"}.get(number % 6, "N")
    waves = _compose(symbols, _draw_patients(np.array([conduction]), rng), sinus, rng)
    waves[..., 1] += peaks[:, None] / fs
    length = round(seconds * fs)
    time = np.arange(length) / fs
    wander = sum(rng.uniform(0.01, 0.08) * np.sin(2 * np.pi * (f * time + rng.random())) for f in (breath, rng.uniform(0.03, 0.08)))
    noise = rng.uniform(0.004, 0.02) * rng.standard_normal(length)
    inside = peaks < length
    return Record(
        name=f"sim{number + 1:02d}",
        signals=(_render(waves, length, fs) + wander + noise).astype(np.float32)[:, None],
        leads=("MLII",),
        fs=float(fs),
        symbols=np.where(symbols == "N", conduction, symbols)[inside],
        samples=peaks[inside],
        age=float(rng.integers(25, 90)),
        sex=str(rng.choice(["F", "M"])),
    )


def _draw_rhythm(fitting: int, paced: bool, rng: np.random.Generator) -> NDArray[np.str_]:
    """Draw a symbol a beat, of some more beats than fit: no two ectopic beats in a row, none too near the end."""
    symbols = np.full(int(1.1 * fitting) + 3, "N")
    if paced:
        start = int(rng.uniform(0.1, 0.5) * fitting)
        symbols[start : start + int(_PACED_SHARE * fitting)] = "/"
    places = np.arange(2, int(0.9 * fitting), 2)
    places = rng.permutation(places[(symbols[places - 1] == "N") & (symbols[places] == "N") & (symbols[places + 1] == "N")])
    for symbol, share in _ECTOPIC_SHARE.items():
        n_ectopic = max(1, round(share * rng.uniform(0.3, 1.7) * fitting))
        symbols[places[:n_ectopic]] = symbol
        places = places[n_ectopic:]
    return symbols


def _variability(times: NDArray[np.floating], breath: float, rng: np.random.Generator) -> Floats:
    """Draw RR variability of unit variance: Mayer waves with half the power of the respiratory ones."""
    frequencies = np.concatenate([rng.normal(0.1, 0.01, 8), rng.normal(breath, 0.01, 8)])
    power = np.repeat([1 / 3, 2 / 3], 8) / 8
    return np.cos(2 * np.pi * (times[:, None] * frequencies + rng.random(16))) @ np.sqrt(2 * power)


def _prematurity(symbols: NDArray[np.str_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw by how much the RR interval before and after each beat differs from the usual one."""
    before, after = np.ones(len(symbols)), np.ones(len(symbols))
    atrial, ventricular, fusion = (symbols == symbol for symbol in ("A", "V", "F"))
    before[atrial] = rng.uniform(0.58, 0.8, atrial.sum())
    after[atrial] = rng.uniform(1.0, 1.12, atrial.sum())
    before[ventricular] = rng.uniform(0.55, 0.8, ventricular.sum())
    after[ventricular] = 2 - before[ventricular]  # the compensatory pause
    before[fusion] = rng.uniform(0.94, 1.0, fusion.sum())
    return before, after


def _draw_patients(conduction: NDArray[np.str_], rng: np.random.Generator) -> dict[str, Floats]:
    """Draw each patient's conducted ("N"), ventricular ("V") and paced ("/") beat; `conduction` is N, L or R."""
    return {kind: _draw_shapes(conduction if kind == "N" else np.full(len(conduction), kind), rng) for kind in ("N", "V", "/")}


def _draw_shapes(kinds: NDArray[np.str_], rng: np.random.Generator) -> Floats:
    """Draw one beat of each kind, (n, waves, 3): amplitude, time and width, with the largest deflection at 0 s."""
    names, index = np.unique(kinds, return_inverse=True)
    low, high = np.array([_RANGES[name] for name in names.tolist()], dtype=np.float64).transpose(3, 0, 2, 1)
    shapes = rng.uniform(low[index], high[index])
    draw = rng.random(len(kinds))
    shapes[np.isin(kinds, ["V", "/"]) & (draw < 0.35), :, 0] *= -1
    shapes[np.isin(kinds, ["N", "R"]) & (draw < 0.15), _T, 0] *= -1
    return _centered(shapes)


def _centered(waves: Floats) -> Floats:
    """Shift the waves so that the largest deflection of the QRS complex is at 0 s."""
    grid = np.arange(-0.08, 0.081, 0.002)
    amplitude, time, width = np.moveaxis(waves[..., _QRS, :], -1, 0)[..., None]
    height = (amplitude * np.exp(-0.5 * ((grid - time) / width) ** 2)).sum(axis=tuple(range(1, waves.ndim - 1)))
    waves[..., 1] -= grid[np.argmax(np.abs(height), axis=1)].reshape(-1, *[1] * (waves.ndim - 2))
    return waves


def _compose(symbols: NDArray[np.str_], shapes: dict[str, Floats], rr: Floats, rng: np.random.Generator) -> Floats:
    """Give the waves of each beat, (n_beats, 2 * waves, 3): the conducted or paced ones, then the ventricular ones.

    `shapes` holds one patient's shapes, or those of one patient a beat.
    """
    n = len(symbols)
    atrial, ventricular, fusion, paced = (symbols == symbol for symbol in ("A", "V", "F", "/"))
    own = np.where(paced[:, None, None], shapes["/"], shapes["N"])
    own[atrial, 0, 0] *= rng.uniform(-0.8, 0.5, atrial.sum())  # a P wave from elsewhere, or hardly any
    own[atrial, 0, 1] += rng.uniform(-0.02, 0.05, atrial.sum())
    mix = ventricular.astype(np.float64)
    mix[fusion] = rng.uniform(0.3, 0.7, fusion.sum())
    share = np.stack([1 - mix, mix], axis=1)[:, :, None]
    waves = np.stack([own, np.broadcast_to(shapes["V"], own.shape)], axis=1)  # (n, 2, waves, 3)
    waves[..., 0] *= share * rng.normal(1, 0.04, (n, 2, len(_WAVES)))
    waves[..., 1] += rng.normal(0, 0.001, (n, 2, len(_WAVES)))
    waves[:, :, _T, 1:] *= np.sqrt(rr)[:, None, None, None]
    if fusion.any():
        waves[fusion] = _centered(waves[fusion])
    return waves.reshape(n, -1, 3)


def _render(waves: Floats, length: int, fs: float) -> Floats:
    """Add up the waves, (n_beats, waves, 3) with times in s from the first sample, into `length` samples."""
    signal = np.zeros(length)
    for amplitude, time, width in np.moveaxis(waves, 0, -1):
        reach = int(np.ceil(4 * width.max(initial=0) * fs))
        here = (amplitude != 0) & (time * fs > -reach) & (time * fs < length + reach)
        center, spread = time[here] * fs, width[here] * fs
        first = np.floor(center).astype(np.int64) - reach
        steps = np.arange(2 * reach + 2)
        distance = ((first - center)[:, None] + steps) / spread[:, None]
        values = amplitude[here][:, None] * np.exp(-0.5 * distance**2)
        index = (first + 2 * reach + 2)[:, None] + steps
        padded = np.bincount(index.ravel(), values.ravel(), minlength=length + 4 * reach + 4)
        signal += padded[2 * reach + 2 : 2 * reach + 2 + length]
    return signal


def _band_pass(signal: Floats, fs: float) -> Floats:
    from scipy.signal import butter, sosfiltfilt

    return np.asarray(sosfiltfilt(butter(4, BAND, "bandpass", fs=fs, output="sos"), signal))
