"""The table of moments: every engine fills it, `Moments` holds it, and the kernel lays its sums down in its order."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from toymodels import And, Bottleneck, Experiment, Features, Identity, LayerNorm, SoLU, Target, Training, train
from toymodels.engines import ENGINES
from toymodels.engines.fused.layout import shape_of
from toymodels.engines.moment_table import TABLE, TAPS
from toymodels.kernels import moments as kernels
from toymodels.metrics.moments import Moments

SIZES = {"feature": 7, "target": 7, "hidden": 3}
EXPERIMENTS = [
    Experiment(Features(7, 0.3), Bottleneck(3, SoLU(), LayerNorm()), Training(steps=5, batch=16), seed=seed)
    for seed in range(2)
]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_fills_every_row_and_no_more(engine: str) -> None:
    parameters = train(EXPERIMENTS).parameters
    folds = ENGINES[engine].moments(EXPERIMENTS, parameters, [0, 128, 300])
    assert len(folds) == 2
    for sums in folds:
        assert sums.keys() == {row.key for row in TABLE}
        for row in TABLE:
            assert sums[row.key].dtype == torch.float64
            assert sums[row.key].shape == (2, *(SIZES[axis] for axis in row.axes)), row.key


def test_moments_holds_the_rows_of_the_table() -> None:
    fields = {field.name for field in dataclasses.fields(Moments)}
    assert fields - {"samples", "folds"} == {row.name for row in TABLE}
    assert len({row.key for row in TABLE}) == len(TABLE)


def test_the_kernel_has_a_place_for_every_row_that_it_sums() -> None:
    axes = Counter(row.axes for row in TABLE)
    assert axes == {
        ("feature",): 1,
        ("target",): kernels.BY_TARGET,
        (): kernels.BY_MODEL,
        ("hidden",): kernels.BY_NEURON,
        ("hidden", "target"): kernels.TAPS,
        ("hidden", "hidden"): kernels.SQUARES,
    }
    assert kernels.TAPS == len(TAPS)
    assert [row.axes for row in TABLE] == sorted((row.axes for row in TABLE), key=[*dict.fromkeys(axes)].index)


@pytest.mark.parametrize("target", [Identity(), And(11)])
@pytest.mark.parametrize("hidden", [3, 40])
def test_the_rows_take_all_of_the_kernels_places(hidden: int, target: Target) -> None:
    e = dataclasses.replace(EXPERIMENTS[0], bottleneck=Bottleneck(hidden, tied=False), target=target)
    size = kernels.places(shape_of(e))
    extents = {
        ("feature",): size.n,
        ("target",): size.outputs,
        (): 1,
        ("hidden",): size.m,
        ("hidden", "target"): size.rows * size.pitch,
        ("hidden", "hidden"): size.hidden_rows * size.pitch,
    }
    assert sum(extents[row.axes] for row in TABLE) == size.by_lane + size.products
