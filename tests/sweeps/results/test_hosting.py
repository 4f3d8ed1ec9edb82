"""Hosting: a model of a run, by the run, its folder or the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.sweeps.errors import FolderError


def test_a_model_of_a_run_is_hosted_however_it_is_named(tiny: Path) -> None:
    run = tm.load(tiny)
    model = run.model(5)
    counted = tm.host(tiny, np.int64(5))  # pyright: ignore[reportArgumentType]
    for of in (tm.host(run, 5), counted, tm.host(str(tiny), 5), tm.host(model), tm.host(model, 0)):
        assert torch.equal(of.models.parameters.W_in, model.parameters.W_in)
        got = of.sample(20)
        torch.testing.assert_close(got.activations, model(got.x.T).post[0].T)
    assert tm.host(run, 5, "mid").tap == "mid"
    assert tm.host(run, model=5, tap="pre").tap == "pre"


def test_it_is_kept_and_read_back(tiny: Path, tmp_path: Path) -> None:
    of = tm.host(tiny, 7, "mid")
    of.save(str(tmp_path / "seven.safetensors"))
    back = tm.host(tmp_path / "seven.safetensors")
    assert back.models.first == of.models.first
    assert torch.equal(next(back.activations(10)), next(of.activations(10)))


@pytest.mark.parametrize(
    "model, kind, words",
    [
        (None, ValueError, "model: expected a number from 0 to 7, got none"),
        (8, ValueError, "model: expected a whole number from 0 to 7, got 8"),
        (-1, ValueError, "model: expected a whole number from 0 to 7, got -1"),
        (1.5, TypeError, "model: expected a whole number"),
        ("3", TypeError, "model: expected a whole number"),
        (True, TypeError, "model: expected a whole number"),
    ],
)
def test_a_model_that_is_not_there_is_named(tiny: Path, model: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        tm.host(tiny, model)


def test_what_is_no_host_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="host: expected a run, trained models or a path, got dict"):
        tm.host({})  # pyright: ignore[reportArgumentType]
    with pytest.raises(FolderError, match="nowhere"):
        tm.host(tmp_path / "nowhere", 0)
    with pytest.raises(ValueError, match="tap: expected one of pre, mid, post, got 'out'"):
        tm.host(tiny, 0, "out")
    with pytest.raises(ValueError, match="model: expected a whole number from 0 to 0, got 1"):
        tm.host(tm.load(tiny).model(0), 1)
