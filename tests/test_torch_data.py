from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, Generator
from ecgsynth.torch_data import CHUNK, BeatDataset, SyntheticBeats


@pytest.fixture(scope="module")
def model(split) -> Generator:
    return GENERATORS["gaussian"]().fit(split.train)


def stream(model: Generator, count: int, **given: object) -> tuple[np.ndarray, list[int]]:
    signals, numbers = zip(*islice(SyntheticBeats(model, **given), count), strict=True)
    return torch.stack(signals).numpy(), list(numbers)


def test_beats_and_the_numbers_of_their_labels(split):
    dataset = BeatDataset(split.test)
    assert dataset.labels == tuple(split.test.counts())
    signals, numbers = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    np.testing.assert_array_equal(signals[:, 0].numpy(), split.test.signals)
    np.testing.assert_array_equal(np.array(dataset.labels)[numbers.numpy()], split.test.classes)
    by_symbol = BeatDataset(split.test, by="symbol")
    assert by_symbol.labels == tuple(split.test.counts("symbol"))


def test_a_stream_is_seeded_and_never_repeats_a_beat(model):
    signals, numbers = stream(model, CHUNK + 100)
    again, same = stream(model, CHUNK + 100)
    np.testing.assert_array_equal(signals, again)
    assert numbers == same
    other, _ = stream(model, 100, seed=1)
    assert not np.array_equal(signals[:100], other)
    assert len(np.unique(signals.reshape(len(signals), -1), axis=0)) == len(signals)


def test_labels_come_as_often_as_asked_for(model):
    _, numbers = stream(model, CHUNK, shares={"V": 3.0, "N": 1.0})
    assert SyntheticBeats(model, {"V": 3.0, "N": 1.0}).labels == ("N", "V")
    assert np.mean(numbers) == pytest.approx(0.75, abs=0.03)
    signals, numbers = stream(model, 2000)
    assert set(numbers) == set(range(5))
    normal = signals[np.array(numbers) == 0].mean(axis=0)[0]
    wanted = model.sample({"N": 2000}).signals.mean(axis=0)
    assert np.abs(normal - wanted).max() < 0.15


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker:UserWarning")  # where there is one core
def test_workers_share_the_beats_between_them(model):
    alone, _ = stream(model, 2 * CHUNK)
    loader = DataLoader(SyntheticBeats(model), batch_size=CHUNK, num_workers=2, multiprocessing_context="fork")
    parts = [signals.numpy() for signals, _ in islice(loader, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), alone)


def test_what_cannot_be_is_said(model):
    with pytest.raises(EcgsynthError, match="unknown class X"):
        SyntheticBeats(model, {"X": 1.0})
    with pytest.raises(EcgsynthError, match="one at least is above"):
        SyntheticBeats(model, {"N": 0.0})
    with pytest.raises(EcgsynthError, match="no model at nowhere"):
        SyntheticBeats("nowhere")
