"""Losses: values and gradients against torch and SciPy, best constants, and which code a cross-entropy prefers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brent, minimize
from scipy.special import log_expit
from torch.nn import functional

from toymodels import (
    AbsoluteValue,
    And,
    Binary,
    Bottleneck,
    CrossEntropy,
    Data,
    Experiment,
    Features,
    Frequency,
    Geometric,
    Importance,
    Linear,
    Loss,
    One,
    Parameters,
    Power,
    ReLU,
    Softmax,
    Squared,
    Training,
    Zipf,
    forward,
    measure,
    train,
)
from toymodels.activations import ACTIVATIONS
from toymodels.engines import ENGINES
from toymodels.objectives import losses
from toymodels.training.experiment import sampler, target_of

BITS = Features(4, 0.3, Frequency(Zipf(0.6)), Importance(Geometric(0.7)), Binary())
EXCLUSIVE = Features(4, 1 / 4, Frequency(Zipf(0.6)), Importance(Geometric(0.7)), Binary(), firing=One())
READS = Bottleneck(3, ReLU(), None, Linear(), tied=False, hidden_bias=True)
RECIPE = Training(steps=60, batch=64, learning_rate=1e-2)


# ------------------------------------------------------------------------------------------------- values, gradients


def logits(scale: float) -> torch.Tensor:
    """[2, 5, 40] in float64, some of them +-50."""
    torch.manual_seed(0)
    y = scale * torch.randn(2, 5, 40, dtype=torch.float64)
    y[0, :, 0], y[0, :, 1], y[1, 0, 2], y[1, 1, 2] = 50, -50, 50, -50
    return y


def gradient(loss: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss.sum(), y)[0]


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_a_sigmoid_a_target_is_torchs_in_value_and_gradient(scale: float) -> None:
    y = logits(scale).requires_grad_()
    t = (torch.rand(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    ours = CrossEntropy()(t, y)
    theirs = functional.binary_cross_entropy_with_logits(y, t, reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    exact = -torch.where(t == 1, torch.from_numpy(log_expit(y.detach().numpy())), 0)
    torch.testing.assert_close(torch.where(t == 1, ours, 0), exact, rtol=1e-12, atol=0)
    slope = gradient(ours, y)
    torch.testing.assert_close(slope, gradient(theirs, y), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(slope, torch.sigmoid(y) - t, rtol=1e-9, atol=1e-15)
    assert ours.isfinite().all()
    assert ours.max() >= 50
    torch.testing.assert_close(CrossEntropy().prediction(y), torch.sigmoid(y))


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_a_softmax_over_targets_is_torchs_in_value_and_gradient(scale: float) -> None:
    y = logits(scale).requires_grad_()
    which = torch.randint(0, 5, (2, 40), generator=torch.Generator().manual_seed(1))
    t = functional.one_hot(which, 5).transpose(1, 2).double()
    ours, theirs = Softmax()(t, y), functional.cross_entropy(y, which, reduction="none")
    assert ours.shape == y.shape
    torch.testing.assert_close(ours.sum(1), theirs, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradient(ours, y), gradient(theirs, y), rtol=1e-9, atol=1e-13)
    assert ours.isfinite().all()
    torch.testing.assert_close(Softmax().prediction(y), torch.softmax(y, 1))
    # A sample, and so all that its logits are moved by, weighs what its active target weighs.
    importance = torch.tensor([[1.0, 2.0, 0.0, 0.5, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    weighted = functional.cross_entropy(y, which, reduction="none") * importance.gather(1, which)
    torch.testing.assert_close(losses(importance, t, y, Softmax()), weighted.mean(1))
    given = gradient(losses(importance, t, y, Softmax()), y)
    torch.testing.assert_close(given, gradient(weighted.mean(1), y), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("loss", [CrossEntropy(), Softmax()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_logit_of_fifty_costs_fifty_or_nothing(loss: Loss, dtype: torch.dtype) -> None:
    y = torch.tensor([[[50.0], [-50.0]]], dtype=dtype, requires_grad=True)
    for t, cost in (([1.0, 0.0], 0.0), ([0.0, 1.0], 100.0)):
        found = loss(torch.tensor(t, dtype=dtype)[None, :, None], y)
        assert found.sum().item() == pytest.approx(cost, abs=1e-6)
        assert gradient(found, y).isfinite().all()


def test_a_cross_entropy_of_exclusive_features_alone_is_a_softmax() -> None:
    assert CrossEntropy().over(BITS) == CrossEntropy()
    assert CrossEntropy().over(EXCLUSIVE) == Softmax()
    for loss in (Squared(), Power(4.0), Softmax()):
        assert loss.over(EXCLUSIVE) == loss
    assert Experiment(EXCLUSIVE, READS, loss=CrossEntropy()).cost == Softmax()
    assert Experiment(BITS, READS, target=And(2), loss=CrossEntropy()).cost == CrossEntropy()


# ------------------------------------------------------------------------------------------------------ best constants


def h(p: np.ndarray) -> np.ndarray:
    """The entropy of a bit, in nats."""
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def test_best_constants_are_entropies() -> None:
    p, importance = BITS.probabilities(), BITS.importance.weights(4, 0)
    assert Experiment(BITS, READS, loss=CrossEntropy()).best_constant_loss() == pytest.approx(importance @ h(p))
    pairs = Experiment(BITS, READS, target=And(6), loss=CrossEntropy())
    both = np.array([p[i] * p[j] for i in range(4) for j in range(i + 1, 4)])
    assert pairs.best_constant_loss() == pytest.approx(pairs.importance() @ h(both))
    signed = dataclasses.replace(BITS, signed=True)
    sizes = Experiment(signed, READS, target=AbsoluteValue(), loss=CrossEntropy())
    assert sizes.best_constant_loss() == pytest.approx(importance @ h(p))


@pytest.mark.parametrize("importance", [Importance(), Importance(Geometric(0.4)), Importance(Geometric(0.4), True)])
def test_the_best_constant_of_a_softmax_weighs_probabilities_by_importance(importance: Importance) -> None:
    features = dataclasses.replace(EXCLUSIVE, importance=importance)
    e = Experiment(features, READS, loss=CrossEntropy(), seed=3)
    P, weights = features.probabilities(), e.importance()

    def cost(logit: np.ndarray) -> float:
        return float((weights * P) @ (np.log(np.exp(logit).sum()) - logit))

    found = minimize(cost, np.zeros(4), tol=1e-12)
    assert e.best_constant_loss() == pytest.approx(found.fun, rel=1e-8)
    if importance == Importance():
        assert found.fun == pytest.approx(-(P * np.log(P)).sum(), rel=1e-8)


@pytest.mark.parametrize("features, loss", [(BITS, CrossEntropy()), (EXCLUSIVE, Softmax())], ids=["sigmoid", "softmax"])
def test_what_is_stated_of_constants_is_what_samples_say(features: Features, loss: Loss) -> None:
    e = Experiment(features, READS, loss=CrossEntropy(), seed=2)
    x, weights = sampler([e]).evaluation(0, 400_000)[0].double(), e.importance()
    stated = loss.stated_of_constant(features.probabilities(), np.zeros(4), weights)
    assert loss.of_constant(x, weights) == pytest.approx(stated, rel=0.01)
    assert loss.stated_of_constant(None, np.zeros(4), weights) is None


@pytest.mark.parametrize("loss", [Power(4.0), Power(1.5), Squared(), CrossEntropy()], ids=lambda loss: repr(loss))
def test_the_best_constant_is_where_scipy_finds_it(loss: Loss) -> None:
    torch.manual_seed(1)
    target = torch.rand(3, 400, dtype=torch.float64) ** 3
    if loss == CrossEntropy():
        target = (target > 0.3).double()
    for row, ours in zip(target, loss.best_constant(target), strict=True):
        theirs = brent(lambda c, row=row: float(loss(row, torch.as_tensor(c)).mean()))
        assert ours.item() == pytest.approx(theirs, abs=1e-5)


def test_the_best_constants_of_a_softmax_are_what_scipy_finds() -> None:
    which = torch.randint(0, 3, (400,), generator=torch.Generator().manual_seed(0)).clamp(max=2)
    t = functional.one_hot(which, 3).T.double()
    found = minimize(lambda c: float(Softmax()(t, torch.as_tensor(c)[:, None]).sum()), np.zeros(3), tol=1e-9)
    ours = Softmax().best_constant(t).numpy()
    assert ours - ours[0] == pytest.approx(found.x - found.x[0], abs=1e-4)


@pytest.mark.parametrize("features", [BITS, EXCLUSIVE], ids=["sigmoid", "softmax"])
def test_engines_agree_on_logits_of_fifty(features: Features) -> None:
    e = Experiment(features, READS, loss=CrossEntropy())
    b_out = torch.tensor([[50.0, -50.0, 30.0, 1.0]])
    parameters = Parameters(torch.ones(1, 3, 4), torch.ones(1, 4, 3), torch.zeros(1, 3), b_out)
    ours, theirs = (ENGINES[name].moments([e], parameters, [0, 4096])[0] for name in ("fused", "autograd"))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name].double(), tensor.double(), rtol=1e-5, atol=1e-4, msg=name)
    assert theirs["cost"].max() > 50


@pytest.mark.parametrize("features", [BITS, EXCLUSIVE], ids=["sigmoid", "softmax"])
def test_the_best_constant_predictor_has_loss_fraction_one_and_r2_zero(features: Features) -> None:
    e = Experiment(features, READS, loss=CrossEntropy())
    p, weights = features.probabilities(), e.importance()
    says = np.log(p / (1 - p)) if features is BITS else np.log(weights * p)
    nothing = Parameters(
        torch.zeros(1, 3, 4), torch.zeros(1, 4, 3), torch.zeros(1, 3), torch.from_numpy(says)[None]
    ).to("cpu", torch.float64)
    measures = measure([e], nothing, samples=200_000)
    assert not measures.failed
    assert measures.models["loss_exact"].item() == pytest.approx(e.best_constant_loss(), rel=1e-9)
    assert measures.models["loss_fraction"].item() == pytest.approx(1, abs=0.01)
    if features is BITS:
        assert measures.features["r2"].numpy() == pytest.approx(np.zeros((1, 4)), abs=1e-3)
    assert measures.features["dead"].all()


@pytest.mark.parametrize("features", [BITS, EXCLUSIVE], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize("engine", ["autograd", "fused"])
def test_r2_and_loss_are_of_predictions(features: Features, engine: str) -> None:
    e = Experiment(features, READS, RECIPE, loss=CrossEntropy(), seed=1)
    parameters = train([e], engine=engine).parameters
    found = measure([e], parameters, samples=4096)
    x = sampler([e]).evaluation(0, 4096).double()
    y = forward(READS, parameters.to("cpu", torch.float64), x).out
    said = torch.sigmoid(y) if features is BITS else torch.softmax(y, 1)
    r2 = 1 - ((x - said) ** 2).mean(2) / x.var(2, correction=0)
    torch.testing.assert_close(found.features["r2"], r2, rtol=1e-4, atol=1e-5)
    cost = -(x * said.log() + (1 - x) * (1 - said).log()) if features is BITS else -x * said.log()
    loss = (cost.mean(2) * torch.from_numpy(e.importance())).sum(1)
    torch.testing.assert_close(found.models["loss"], loss, rtol=1e-5, atol=0)
    fraction = found.models["loss_fraction"] * e.best_constant_loss()
    torch.testing.assert_close(fraction, loss, rtol=1e-5, atol=0)


# --------------------------------------------------------------------------------------------------- two codes compared

FOUR = Features(4, 1 / 4, values=Binary(), firing=One())
CODES = {"polysemantic": (1.0, 1.0, 0.0, 0.0), "monosemantic": (1.0, 0.0, 0.0, 0.0)}
"""of four exclusive features, what one neuron that is 0 or 1 does: two and two, or one against three"""
BIT = Bottleneck(1, ReLU(), None, Linear(), tied=False)
COSTS = {
    ("softmax", "polysemantic"): math.log(2),
    ("softmax", "monosemantic"): 3 / 4 * math.log(3),
    ("sigmoid", "polysemantic"): 2 * math.log(2),
    ("sigmoid", "monosemantic"): 3 / 4 * (3 * math.log(3) - 2 * math.log(2)),
}
NEVER = -40.0
"""the logit of what cannot be: e^-40 of a nat away"""


class Exclusive(Data):
    """`FOUR` as data of one's own, whose population is listed: so a cross-entropy of it is a sigmoid a feature."""

    def draw(self, seed: int, first: int, samples: int, step: int | None) -> torch.Tensor:
        which = (self.uniforms(seed, first, samples, step)[0] * 4).long()
        return functional.one_hot(which, 4).T.float()

    def population(self) -> torch.Tensor:
        return torch.eye(4)


def coded(kind: str, code: str) -> tuple[Experiment, torch.Tensor]:
    """The experiment, and W_in of the code, [1, 1, 4]."""
    features = FOUR if kind == "softmax" else Exclusive(4)
    e = Experiment(features, BIT, loss=CrossEntropy())
    assert e.cost.name == {"softmax": "softmax", "sigmoid": "cross_entropy"}[kind]
    return e, torch.tensor([[CODES[code]]], dtype=torch.float64)


def cost_of(e: Experiment, W_in: torch.Tensor, W_out: torch.Tensor, b_out: torch.Tensor) -> torch.Tensor:
    """The loss over the four samples there are, which are equally likely: a number."""
    x = torch.eye(4, dtype=torch.float64)[None]
    out = forward(BIT, Parameters(W_in, W_out.view(1, 4, 1), b_out=b_out.view(1, 4)), x).out
    return losses(torch.ones(1, 4, dtype=torch.float64), target_of([e])(x), out, e.cost)[0]


def best_read_out(kind: str, code: str) -> tuple[torch.Tensor, torch.Tensor]:
    """W_out and b_out that give each feature its probability in each state of the neuron."""
    bit = np.array(CODES[code])
    said = []
    for state in (0.0, 1.0):
        p = (bit == state) / (bit == state).sum()
        with np.errstate(divide="ignore"):
            logit = np.log(p) if kind == "softmax" else np.log(p) - np.log(1 - p)
        said.append(np.clip(logit, NEVER, -NEVER))
    return torch.from_numpy(said[1] - said[0]), torch.from_numpy(said[0])


@pytest.mark.parametrize("kind, code", COSTS)
def test_a_bit_of_four_exclusive_features_costs_what_is_known(kind: str, code: str) -> None:
    (e, W_in), (W_out, b_out) = coded(kind, code), best_read_out(kind, code)
    assert cost_of(e, W_in, W_out, b_out).item() == pytest.approx(COSTS[kind, code], rel=1e-12)

    def cost(read_out: np.ndarray) -> tuple[float, np.ndarray]:
        numbers = torch.from_numpy(read_out).requires_grad_()
        found = cost_of(e, W_in, numbers[:4], numbers[4:])
        return found.item(), torch.autograd.grad(found, numbers)[0].numpy()

    # It is approached as logits grow without bound, and never undercut.
    found = minimize(cost, np.zeros(8), jac=True, tol=1e-12, options={"maxiter": 10_000})
    assert COSTS[kind, code] - 1e-12 <= found.fun <= COSTS[kind, code] + 1e-5
    parameters = Parameters(W_in, W_out.view(1, 4, 1), b_out=b_out.view(1, 4))
    measures = measure([e], parameters, samples=40_000)
    assert not measures.failed
    assert measures.models["loss"].item() == pytest.approx(COSTS[kind, code], rel=0.02)
    if kind == "softmax":
        assert measures.models["loss_exact"].item() == pytest.approx(COSTS[kind, code], rel=1e-9)


def test_a_softmax_and_sigmoids_agree_that_a_bit_is_better_spent_on_two_and_two() -> None:
    assert COSTS["softmax", "polysemantic"] == pytest.approx(0.6931, abs=5e-5)
    assert COSTS["softmax", "monosemantic"] == pytest.approx(0.8240, abs=5e-5)
    assert COSTS["sigmoid", "polysemantic"] == pytest.approx(1.3863, abs=5e-5)
    assert COSTS["sigmoid", "monosemantic"] == pytest.approx(1.4322, abs=5e-5)
    for kind in ("softmax", "sigmoid"):
        assert COSTS[kind, "polysemantic"] < COSTS[kind, "monosemantic"]
    assert Experiment(FOUR, BIT, loss=CrossEntropy()).best_constant_loss() == pytest.approx(math.log(4))
    sigmoids = Experiment(Exclusive(4), BIT, loss=CrossEntropy())
    assert sigmoids.best_constant_loss() == pytest.approx(4 * h(np.array(1 / 4)).item())


# ------------------------------------------------------------------------------------------------ what has no meaning

BINARY = "loss 'cross_entropy' is of targets that are 0 or 1: values = 'binary', and signs only of target 'absolute'"
LOGIT = "loss 'cross_entropy' reads an output as a logit, which may be any number: output = 'linear'"
ALONE = "loss 'softmax' is of features of which exactly one is active: firing = 'one'"


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Experiment(Features(4, 0.3), READS, loss=CrossEntropy()), BINARY),
        (lambda: Experiment(Features(4, 0.3), READS, target=And(2), loss=CrossEntropy()), BINARY),
        (lambda: Experiment(dataclasses.replace(BITS, signed=True), READS, loss=CrossEntropy()), BINARY),
        (lambda: Experiment(dataclasses.replace(BITS, signed=True), READS, target=And(2), loss=CrossEntropy()), BINARY),
        (lambda: Experiment(BITS, Bottleneck(3), loss=CrossEntropy()), LOGIT),
        (lambda: Experiment(EXCLUSIVE, Bottleneck(3), loss=CrossEntropy()), LOGIT),
        (lambda: Experiment(EXCLUSIVE, Bottleneck(3), loss=Softmax()), LOGIT),
        *[
            (lambda x=x, output=output: Experiment(x, Bottleneck(3, output=output), loss=CrossEntropy()), LOGIT)
            for output in ACTIVATIONS.values()
            if output != Linear()
            for x in (BITS, EXCLUSIVE)
        ],
        (lambda: Experiment(Features(4, 1 / 4, firing=One()), READS, loss=CrossEntropy()), BINARY),
        (lambda: Experiment(BITS, READS, loss=Softmax()), ALONE),
        (lambda: Experiment(BITS, READS, target=And(2), loss=Softmax()), ALONE),
        (lambda: Experiment(Exclusive(4), READS, loss=Softmax()), ALONE),
    ],
)
def test_entropies_without_meaning_are_one_sentence(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$") as caught:
        make()
    assert str(caught.value) == sentence


def test_whether_targets_are_binary_is_asked_by_losses_that_need_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(AbsoluteValue, "binary", lambda self, features: asked.append(features) or True)
    signed = dataclasses.replace(BITS, signed=True)
    Experiment(signed, READS, target=AbsoluteValue(), loss=Power(4.0))
    assert not asked
    Experiment(signed, READS, target=AbsoluteValue(), loss=CrossEntropy())
    assert asked == [signed]


def test_signs_of_sizes_are_no_matter() -> None:
    signed = dataclasses.replace(BITS, signed=True)
    assert Experiment(signed, READS, target=AbsoluteValue(), loss=CrossEntropy()).best_constant_loss() > 0
