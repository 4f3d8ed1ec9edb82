"""Vulnerability of a run's models: what is measured of each, what its exponents say, and that they can say no."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tests.sweeps.studies.conftest import Ran
from toymodels.metrics.geometry import norms
from toymodels.metrics.vulnerability import input_slopes
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import tms_adversary
from toymodels.sweeps.studies.tms_adversary import ATTACK, NEURONS, PER_DIMENSION, RADIUS, SLOPE
from toymodels.training.experiment import sampler

SWEEP = """
[features]
n = 6
density = 0.2
[model]
hidden = 3
[train]
steps = 200
batch = 64
learning_rate = 0.02
[eval]
samples = 512
[grid]
"features.density" = [0.05, 0.3]
seed = [0, 1, 2, 3]
"""
DECODERS = """
[[case]]
"model.activation" = "linear"
[[case]]
"model.activation" = "relu"
"model.tied" = false
"model.output" = "linear"
"model.embedding" = 4
[[case]]
"model.activation" = "solu"
"model.layer_norm" = true
"model.tied" = false
"model.output" = "linear"
"model.embedding" = 4
"""


def test_each_model_has_what_it_has(ran: Ran) -> None:
    run = ran(SWEEP + DECODERS)
    reply = tms_adversary.answer(run, lambda _: None)
    models = reply.tables[tms_adversary.MODELS]
    assert list(dict.fromkeys(models["host"])) == ["bottleneck", "relu decoder", "solu + LN decoder"]
    assert len(models) == 24

    plain = run.models[run.models["model.activation"].eq("linear") & run.models["features.density"].eq(0.05)]
    W = run.batch(plain["model"].tolist())[1].W_in.double()
    here = models[models["host"].eq("bottleneck") & models["density"].eq(0.05)]
    np.testing.assert_allclose(here[PER_DIMENSION], W.square().sum((1, 2)) / 3)
    squares = torch.linalg.vector_norm(W.transpose(1, 2) @ W, dim=2).square()
    kept = norms(W) > 0.5
    expected = [row[mask].mean().item() for row, mask in zip(squares, kept, strict=True)]
    np.testing.assert_allclose(here[SLOPE], expected)
    np.testing.assert_allclose(here[tms_adversary.LEAST_SLOPE], squares.sum(1) / (W.square().sum((1, 2)) ** 2 / 3))
    assert models[tms_adversary.LEAST_SLOPE].isna().tolist() == models["host"].ne("bottleneck").tolist()
    # the attack has to overcome read-outs below 0, so it is at most the slope; it is 1 without superposition
    assert (here[ATTACK] <= np.sqrt(here[SLOPE]) + 1e-9).all()
    assert RADIUS == 0.5

    relu = run.models[run.models["model.activation"].eq("relu") & run.models["features.density"].eq(0.05)]
    experiments, parameters = run.batch(relu["model"].tolist())
    x = sampler(experiments).evaluation(0, tms_adversary.EXAMPLES).double()
    slopes = input_slopes(experiments[0].bottleneck, parameters.to("cpu", torch.float64), x).square().mean(2)
    r2 = run.features.set_index(["model", "feature"])["r2"].unstack().loc[relu["model"]].to_numpy(float)
    expected = [row[torch.tensor(of > 0.5)].mean().item() for row, of in zip(slopes, r2, strict=True)]
    here = models[models["host"].eq("relu decoder") & models["density"].eq(0.05)]
    np.testing.assert_allclose(here[SLOPE], expected)
    np.testing.assert_allclose(here[PER_DIMENSION], (r2 > 0.5).sum(1) / 4)
    assert "bottleneck: squared slope" in reply.sentence


def law(low: float, high: float) -> dict[str, float]:
    return {"mean": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.9, 1.1, "increases, in proportion"),
        (0.5, 0.7, "increases"),
        (1.1, 1.3, "increases"),
        (-0.5, 0.05, "does not increase"),
        (0.05, 0.4, "undetermined"),
        (math.nan, math.nan, "undetermined"),
    ],
)
def test_an_exponent_may_say_yes_no_or_nothing(low: float, high: float, said: str) -> None:
    assert tms_adversary.verdict(law(low, high)) == said


def test_a_chord_is_no_power_law() -> None:
    """Where the exponent from one density to the next changes, that over all says where its ends are."""
    assert tms_adversary.verdict(law(1.26, 1.27), [0.9, 1.3, 2.0]) == "increases, by no power law"
    assert tms_adversary.verdict(law(0.9, 1.1), [0.9, 1.1]) == "increases, in proportion"
    assert tms_adversary.verdict(law(0.9, 1.1), [math.nan, 1.1]) == "increases, in proportion"
    assert tms_adversary.verdict(law(-0.5, 0.05), [-3.0, 3.0]) == "does not increase"


def test_between_decoders_only_what_is_about_the_mean_of_a_density_counts() -> None:
    density = np.repeat([0.1, 0.2], 3)
    neurons = np.array([10.0, 20.0, 30.0, 1.0, 2.0, 3.0])
    models = pd.DataFrame({"density": density, NEURONS: neurons, ATTACK: np.exp(0.02 * neurons + 5 * density)})
    assert tms_adversary.between(models) == pytest.approx(0.02)
    assert math.isnan(tms_adversary.between(models.assign(**{NEURONS: density})))


def test_one_density_is_refused(ran: Ran) -> None:
    one = ran(SWEEP.replace("[0.05, 0.3]", "[0.3]").replace("[0, 1, 2, 3]", "[0]").replace("steps = 200", "steps = 5"))
    with pytest.raises(FolderError, match="at two densities"):
        tms_adversary.answer(one, lambda _: None)
