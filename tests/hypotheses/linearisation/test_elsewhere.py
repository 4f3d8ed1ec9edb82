"""What freezing does, asked on a device that is not there (`tests.elsewhere`): the numbers of the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import toymodels as tm
from tests.elsewhere import Elsewhere
from toymodels.engines import ENGINES
from toymodels.hosts import Models
from toymodels.hypotheses.linearisation import asked

LAYERS = {
    "gelu": (tm.Features(10, 0.15), tm.Bottleneck(6, tm.GeLU())),
    "decoder": (
        tm.Features(10, 0.15, values=tm.Binary()),
        tm.Bottleneck(
            8, tm.SoLU(), tm.LayerNorm(), tm.Linear(), tied=False, hidden_bias=True, embedding=tm.Embedding(5)
        ),
    ),
}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setattr(Models, "engine", property(lambda _: ENGINES["autograd"]))  # here too, so that bits are equal
    for name, size in {
        "PAIRS": 64,
        "LEVELS_ON": 128,
        "CODED": 512,
        "CHUNK": 256,
        "CANDIDATES": 8,
        "SUITED": 64,
    }.items():
        monkeypatch.setattr(asked, name, size)
    with Elsewhere() as device:
        yield device


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_asked_there_is_answered_as_on_the_cpu(name: str, elsewhere: Elsewhere) -> None:
    features, bottleneck = LAYERS[name]
    recipe = tm.Training(steps=30, batch=64, learning_rate=0.05)
    es = [tm.Experiment(features, bottleneck, recipe, seed=seed) for seed in range(2)]
    parameters = tm.train(es, engine="autograd").parameters
    here = asked.ask(Models(es, parameters))
    kernels = elsewhere.kernels
    there = asked.ask(Models(es, parameters.to("meta", torch.float32)))
    assert elsewhere.kernels > kernels + 2000
    for part, numbers in vars(here).items():
        theirs = getattr(there, part)
        assert theirs.keys() == numbers.keys()
        for of, mine in numbers.items():
            np.testing.assert_array_equal(mine, theirs[of], err_msg=f"{part} {of}")
