"""Peers: each learns what our engine learns, from the same start on, or its time says nothing."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # benchmarks are in no wheel

from benchmarks.engines import LEARNING  # noqa: E402
from benchmarks.peers.one_at_a_time import OneAtATime  # noqa: E402
from benchmarks.peers.recipe import Recipe  # noqa: E402
from benchmarks.timing import Ours, Side  # noqa: E402
from benchmarks.workload import WORKLOADS, Workload  # noqa: E402

DENSITY = 0.1
CURVE = (1, 40, 200)
"""steps at which losses are compared"""


def peer(name: str, workload: Workload) -> Side:
    """A peer by its name; skips the test where it is not installed."""
    torch.manual_seed(0)
    if name == "JAX":
        pytest.importorskip("jax")
        pytest.importorskip("optax")
        from benchmarks.peers.scan import Scan

        return Scan(workload, DENSITY)
    return {"recipe": Recipe, "one at a time": OneAtATime}[name](workload, DENSITY)


def mean_and_error(losses: Tensor) -> tuple[float, float]:
    """The mean over models, and its standard error."""
    return losses.double().mean().item(), losses.double().std().item() / math.sqrt(len(losses))


@pytest.mark.parametrize("workload", LEARNING, ids=[workload.name for workload in LEARNING])
@pytest.mark.parametrize("name", ["recipe", "one at a time", "JAX"])
def test_a_peers_loss_curve_lands_where_ours_does(name: str, workload: Workload):
    side, ours = peer(name, workload), Ours("fused", workload, DENSITY)
    done, last = 0, math.inf
    for step in CURVE:
        loss, error = mean_and_error(side.run(step - done))
        our_loss, our_error = mean_and_error(ours.run(step))
        assert abs(loss - our_loss) < 4 * math.hypot(error, our_error), f"step {step}"
        assert loss < last
        done, last = step, loss
    side.close()


@pytest.mark.parametrize("workload", WORKLOADS, ids=[workload.name for workload in WORKLOADS])
def test_the_flop_of_a_workload_are_those_of_the_engine(workload: Workload):
    from toymodels.engines.fused.batch import Batch

    one = workload.experiments(workload.densities[0], 1)[:1]
    assert workload.flop() == Batch.of(one).step_flop()
