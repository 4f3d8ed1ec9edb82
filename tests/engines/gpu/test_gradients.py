"""Gradients of one step against float64 autograd, of anything that a sweep file can say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.engines.test_fused import NEARLY_A_SIGN, autograd_gradient, experiments, moved
from toymodels import SGD, Experiment, Training
from toymodels.bottleneck import Parameters
from toymodels.engines.gpu.run import GpuRun

STEP = Training(steps=1, optimizer=SGD(), learning_rate=0.0)
"""its momentum begins with the gradient"""


def gradient(e: Experiment, parameters: Parameters) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of the first step, by the kernels, interpreted."""
    run, given = GpuRun([e], "cpu"), parameters.to("cpu", torch.float32)
    run.stood[:, 0] = torch.cat([each.flatten(1) for each in given.trained(e.bottleneck).values()], dim=1)
    if run.batch.form.embedded and run.batch.form.E < 0:
        assert given.E is not None
        run.batch.given[1][:] = given.E
    run.advance(1)
    assert run.diverged_step.tolist() == [0]
    return run.curve[0, 0].item(), run.batch.unpacked(run.stood[:, 1])


def check(e: Experiment) -> None:
    """Each parameter's to 1e-5 of its norm (and 1e-6 of that of all).

    And to four times the error of autograd in float32 on the same draw, where float32 itself cannot hold that.
    """
    parameters = moved(e)
    loss, ours = gradient(e, parameters)
    true_loss, theirs = autograd_gradient(e, parameters)
    float32_loss, in_float32 = autograd_gradient(e, parameters, torch.float32)
    assert abs(loss - true_loss) <= 1e-5 * true_loss + 4 * abs(float32_loss - true_loss)
    assert ours.keys() == theirs.keys()
    norm = torch.cat([tensor.flatten() for tensor in theirs.values()]).norm().item()
    for name, tensor in theirs.items():
        allowed = 1e-5 * tensor.norm() + 1e-6 * norm + 4 * (in_float32[name].double() - tensor).norm()
        assert (ours[name].double() - tensor).norm() <= allowed + 1e-12, name


def steps(most: int) -> st.SearchStrategy[Training]:
    return st.builds(lambda batch: dataclasses.replace(STEP, batch=batch), st.integers(1, most))


@given(experiments(steps(90)))
@settings(max_examples=25)
@example(dataclasses.replace(NEARLY_A_SIGN, training=dataclasses.replace(STEP, batch=1)))
def test_gradients_of_one_step_agree_with_float64_autograd(e: Experiment) -> None:
    check(e)


@pytest.mark.slow
@given(experiments(steps(700)))
@settings(max_examples=250)
def test_gradients_of_many_more_agree_too(e: Experiment) -> None:
    check(e)
