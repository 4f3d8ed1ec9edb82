"""The manipulation check against its definitions in NumPy and SciPy, and on models whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

import toymodels as tm
from toymodels.hosts import Models
from toymodels.initialisation import initialise
from toymodels.losses import LOSSES
from toymodels.metrics.gauge import gauged_moments
from toymodels.metrics.linearity import affine_map
from toymodels.metrics.manipulation import (
    ENGAGED,
    JUDGED_ON,
    affine_substitution,
    compares,
    effective_neurons,
    substitute,
    through,
)
from toymodels.metrics.moments import collect
from toymodels.training.experiment import sampler

SAMPLES = 4096


class Straight(tm.Elementwise):
    """z -> z, under another name: measured, where a linear activation is known."""

    name = "straight"

    def __call__(self, z, dim=-1):
        return z

    def derivative(self, z):
        return torch.ones_like(z)


@dataclasses.dataclass(frozen=True)
class Logistic(tm.Loss):
    """Cross-entropy of a logit."""

    name = "logistic"

    def __call__(self, target, output):
        return torch.nn.functional.softplus(output) - target * output


def built(bottleneck, *, n=9, models=2, loss=None, target=None, dtype=torch.float64, seed=0, **features):
    """Models with weights, gain and biases at random, large enough that activations bend."""
    features = {"density": 0.3, "importance": tm.Importance(tm.Geometric(0.8))} | features
    es = [
        tm.Experiment(
            tm.Features(n, **features),
            bottleneck,
            target=target or tm.Identity(),
            loss=loss or tm.Squared(),
            seed=s,
        )
        for s in range(models)
    ]
    generator = torch.Generator().manual_seed(seed)
    start = initialise([bottleneck] * models, sampler(es), torch.float64)
    drawn = {
        name: tensor
        + (3 if name == "W_in" else 0.5) * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        for name, tensor in start.trained(bottleneck).items()
    }
    return es, tm.Parameters(**drawn, ln_eps=start.ln_eps).to("cpu", dtype)


def measured(es, parameters, samples=SAMPLES):
    return affine_substitution(Models(es, parameters), collect(Models(es, parameters), samples))


ACT = {
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z * scipy.special.ndtr(z),
    "solu": lambda z: z * scipy.special.softmax(z, axis=1),
}


def written_out(e, parameters, samples=SAMPLES, *, power=2.0, linear_output=False):
    """F of the substituted and refitted model minus F of the refitted one, of one model from the definitions."""
    p = {name: tensor[0].double().numpy() for name, tensor in parameters.present().items()}
    x = sampler([e]).evaluation(0, samples)[0].double().numpy().T
    z = x @ p["W_in"].T + p.get("b_in", 0.0)
    a = ACT[e.bottleneck.activation.name](z)
    half, end = samples // 2, min(samples, samples // 2 + JUDGED_ON)
    ones = np.ones((samples, 1))
    zs = np.concatenate([z, ones], 1)
    affine = zs @ np.linalg.lstsq(zs[:half], a[:half], rcond=1e-9)[0]
    t, importance = np.abs(x) if e.target.name == "absolute" else x, e.importance()

    def post(mid):
        if e.bottleneck.layer_norm is None:
            return mid
        centred = mid - mid.mean(1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(1, keepdims=True) + p["ln_eps"])
        return normal * p.get("ln_gain", 1.0) + p.get("ln_bias", 0.0)

    def lost(h):
        mean, t_mean = h[:half].mean(0), t[:half].mean(0)
        alpha = 1e-6 * h[:half].var(0).mean() * half
        rows = np.concatenate([h[:half] - mean, np.sqrt(alpha) * np.eye(h.shape[1])])
        said = np.concatenate([t[:half] - t_mean, np.zeros((h.shape[1], t.shape[1]))])
        y = (h[half:end] - mean) @ np.linalg.lstsq(rows, said, rcond=None)[0] + t_mean
        if e.bottleneck.output.name == "relu" and not linear_output:
            y = np.maximum(y, 0)
        return importance @ (np.abs(t[half:end] - y) ** power).mean(0)

    constant = importance @ t[half:end].var(0) if power == 2 else e.best_constant_loss()
    return (lost(post(affine)) - lost(post(a))) / constant


NORMS = {"bare": None, "plain LN": tm.LayerNorm(affine=False), "LN": tm.LayerNorm()}


@pytest.mark.parametrize("output", [tm.Linear(), tm.ReLU()], ids=lambda each: each.name)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [tm.ReLU(), tm.GeLU(), tm.SoLU()], ids=lambda each: each.name)
def test_it_is_the_difference_of_two_refitted_models(activation, norm, output):
    es, parameters = built(tm.Bottleneck(5, activation, NORMS[norm], output, tied=norm == "bare"))
    found = measured(es, parameters)
    assert found.dtype == torch.float64
    for model, e in enumerate(es):
        assert found[model].item() == pytest.approx(written_out(e, parameters[[model]]), abs=1e-7)
    assert found.abs().min() > 1e-3  # there was something to find


@pytest.mark.parametrize(
    "bottleneck, others",
    [
        (tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(), hidden_bias=True, tied=False, output_bias=False), {}),
        (tm.Bottleneck(12, tm.GeLU(), None, tm.Linear(), hidden_bias=True), {"values": tm.Binary()}),
        (tm.Bottleneck(4, tm.ReLU(), tm.LayerNorm(), tm.Linear()), {"signed": True, "target": tm.AbsoluteValue()}),
    ],
)
def test_with_biases_more_neurons_than_features_and_other_targets(bottleneck, others):
    es, parameters = built(bottleneck, **others)
    for model, found in enumerate(measured(es, parameters).tolist()):
        assert found == pytest.approx(written_out(es[model], parameters[[model]]), abs=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_pre_activations_that_fill_no_space(norm):
    es, parameters = built(tm.Bottleneck(7, tm.GeLU(), NORMS[norm], tm.Linear(), tied=False))
    W = parameters.W_in
    parameters = dataclasses.replace(parameters, W_in=W[:, :, :3] @ W[:, :3])
    assert torch.linalg.matrix_rank(parameters.W_in).tolist() == [3, 3]
    for model, found in enumerate(measured(es, parameters).tolist()):
        assert found == pytest.approx(written_out(es[model], parameters[[model]]), abs=1e-6)


def test_it_is_judged_by_the_loss_in_the_units_of_the_target():
    bottleneck = tm.Bottleneck(5, tm.ReLU())
    es, parameters = built(bottleneck, loss=tm.Power(3.0))
    for model, found in enumerate(measured(es, parameters).tolist()):
        assert found == pytest.approx(written_out(es[model], parameters[[model]], power=3.0), abs=1e-7)


def test_where_the_loss_is_in_other_units_it_is_judged_by_the_squared_error_of_the_read_out():
    es, parameters = built(tm.Bottleneck(5, tm.ReLU()), loss=Logistic(), values=tm.Binary())
    for model, found in enumerate(measured(es, parameters).tolist()):
        assert found == pytest.approx(written_out(es[model], parameters[[model]], linear_output=True), abs=1e-7)


def test_which_losses_compare():
    assert all(compares(loss) for loss in LOSSES.values() if isinstance(loss, tm.Squared | tm.Power))
    assert not compares(Logistic())

    class OverFeatures(tm.Loss):
        name = "over_features"

        def __call__(self, target, output):
            return -target * output.log_softmax(1)

    assert not compares(OverFeatures())


@pytest.mark.parametrize("norm", NORMS)
def test_a_substituted_model_is_a_model(norm):
    bottleneck = tm.Bottleneck(5, tm.GeLU(), NORMS[norm], hidden_bias=True)
    es, parameters = built(bottleneck)
    half = collect(Models(es, parameters), 1024)
    by = affine_map(half)
    x = sampler(es).evaluation(0, 1024).double()
    z = tm.forward(bottleneck, parameters, x).pre
    straight = dataclasses.replace(bottleneck, activation=tm.Linear(), tied=False)
    taps = tm.forward(straight, substitute(parameters, by), x)
    torch.testing.assert_close(taps.mid, by.A @ z + by.c[:, :, None])
    if norm == "bare":
        seen = through(half, by)
        torch.testing.assert_close(seen.tap["post"], taps.post.mean(2))
        torch.testing.assert_close(seen.tap_tap["post"], taps.post @ taps.post.transpose(1, 2) / 1024)
        torch.testing.assert_close(seen.tap_target["post"], taps.post @ x.transpose(1, 2) / 1024)


# ---------------------------------------------------------------------------------------------- answers that are known


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_activation_is_its_own_substitute(norm):
    es, parameters = built(tm.Bottleneck(5, tm.Linear(), NORMS[norm]))
    assert measured(es, parameters).tolist() == [0.0, 0.0]
    assert measured(es, parameters, 100).tolist() == [0.0, 0.0]
    to = Straight()
    es = [dataclasses.replace(e, bottleneck=dataclasses.replace(e.bottleneck, activation=to)) for e in es]
    assert measured(es, parameters).abs().max() < 1e-9
    assert measured(es, parameters, 200).isnan().all()  # three folds


def test_the_size_of_a_feature_cannot_be_said_without_relu():
    # |x| = ReLU(x) + ReLU(-x): two neurons a feature say it all, and x and -x nothing.
    n, bottleneck = 4, tm.Bottleneck(8, tm.ReLU(), None, tm.Linear(), tied=False)
    es, _ = built(bottleneck, n=n, models=1, signed=True, target=tm.AbsoluteValue())
    W = torch.cat([torch.eye(n), -torch.eye(n)]).double()[None]
    parameters = tm.Parameters(W_in=W, W_out=W.transpose(1, 2).abs(), b_out=torch.zeros(1, n).double())
    assert measured(es, parameters, 20_000).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_a_relu_that_is_always_on_does_nothing(norm):
    es, parameters = built(tm.Bottleneck(5, tm.ReLU(), NORMS[norm], hidden_bias=True))
    assert parameters.b_in is not None
    parameters = dataclasses.replace(parameters, b_in=parameters.b_in + 100)
    assert measured(es, parameters).abs().max() < 1e-6


def test_in_the_bottleneck_solu_does_nothing():
    # The identity through 16 neurons, linear output: an affine layer says as much.
    features = tm.Features(64, 0.062, frequency=tm.Frequency(tm.Zipf(1.2), cap=0.5), values=tm.Binary())
    bottleneck = tm.Bottleneck(16, tm.SoLU(), output=tm.Linear(), tied=False)
    recipe = tm.Training(steps=6000, batch=256, learning_rate=3e-3, schedule=tm.Cosine())
    es = [tm.Experiment(features, bottleneck, recipe, seed=seed) for seed in range(2)]
    found = tm.measure(es, tm.train(es).parameters).models
    assert (found["loss_fraction"] < 0.4).all()
    assert (found["affine_substitution"] < 0.01).all()
    assert (found["affine_substitution"] > -ENGAGED).all()
    assert (found["effective_neurons"] > 0.9).all()


# ----------------------------------------------------------------------------------------------------------- invariance


@pytest.mark.parametrize("norm", NORMS)
def test_neurons_in_another_order_are_the_same_neurons(norm):
    es, parameters = built(tm.Bottleneck(6, tm.SoLU(), NORMS[norm], tied=False))
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    trained = parameters.trained(es[0].bottleneck)
    named = {name: tensor[:, order] for name, tensor in trained.items() if name not in ("W_out", "b_out")}
    assert parameters.W_out is not None
    other = dataclasses.replace(parameters, W_out=parameters.W_out[:, :, order], **named)
    torch.testing.assert_close(measured(es, other), measured(es, parameters), rtol=0, atol=1e-9)
    torch.testing.assert_close(
        effective_neurons(Models(es, other), SAMPLES),
        effective_neurons(Models(es, parameters), SAMPLES),
        rtol=1e-12,
        atol=0,
    )


def test_what_layer_norm_deletes_changes_nothing():
    es, parameters = built(tm.Bottleneck(6, tm.Linear(), tm.LayerNorm(), tm.Linear(), tied=False))
    v = torch.linspace(-1, 2, 9, dtype=torch.float64)
    shifted = dataclasses.replace(parameters, W_in=parameters.W_in + v)
    assert torch.equal(measured(es, shifted), measured(es, parameters))
    to = Straight()
    straight = [dataclasses.replace(e, bottleneck=dataclasses.replace(e.bottleneck, activation=to)) for e in es]
    torch.testing.assert_close(measured(straight, shifted), measured(straight, parameters), rtol=0, atol=1e-9)
    torch.testing.assert_close(
        effective_neurons(Models(es, shifted), SAMPLES), effective_neurons(Models(es, parameters), SAMPLES)
    )


@dataclasses.dataclass(frozen=True)
class Raised(tm.Activation):
    """act(z) + c(z) 1, the same for every neuron."""

    act: tm.Activation
    name = "raised"

    def __call__(self, z, dim=-1):
        return self.act(z, dim) + (3 * z).sin().sum(dim, keepdim=True)

    def jvp(self, z, v, dim=-1):
        raise NotImplementedError


@pytest.mark.parametrize("activation", [tm.ReLU(), tm.SoLU()], ids=lambda each: each.name)
def test_nor_does_what_layer_norm_deletes_of_an_activation_that_bends(activation):
    """No affine map says c(z) either, but before a LayerNorm that is nothing lost."""
    found = {}
    for norm in (None, tm.LayerNorm()):
        bottleneck = tm.Bottleneck(6, activation, norm, tm.Linear(), tied=False)
        es, parameters = built(bottleneck)
        raised = [
            dataclasses.replace(e, bottleneck=dataclasses.replace(bottleneck, activation=Raised(activation)))
            for e in es
        ]
        moments = collect(Models(raised, parameters), SAMPLES)
        found[norm] = (measured(es, parameters), affine_substitution(Models(raised, parameters), moments))
        about_mean = affine_substitution(Models(raised, parameters), gauged_moments(bottleneck, moments))
        torch.testing.assert_close(about_mean, found[norm][1], rtol=0, atol=1e-9)
    torch.testing.assert_close(*found[tm.LayerNorm()], rtol=0, atol=1e-9)
    assert ((found[None][0] - found[None][1]).abs() > 0.01).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [tm.ReLU(), tm.SoLU()], ids=lambda each: each.name)
def test_engines_agree(activation, norm):
    bottleneck = tm.Bottleneck(6, activation, NORMS[norm], output_bias=False)
    es, parameters = built(bottleneck, dtype=torch.float32)
    in_double = parameters.to("cpu", torch.float64)  # which no kernel has
    torch.testing.assert_close(measured(es, parameters), measured(es, in_double), rtol=0, atol=2e-5)
    torch.testing.assert_close(
        effective_neurons(Models(es, parameters), SAMPLES),
        effective_neurons(Models(es, in_double), SAMPLES),
        rtol=1e-5,
        atol=0,
    )


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("activation", [tm.Linear(), tm.ReLU(), tm.SoLU()], ids=lambda each: each.name)
@pytest.mark.parametrize("norm", NORMS)
def test_a_broken_model_costs_its_neighbours_nothing(activation, norm, rubbish):
    es, parameters = built(tm.Bottleneck(4, activation, NORMS[norm]), models=3, dtype=torch.float32)
    alone = tm.measure([es[0], es[2]], parameters[[0, 2]], samples=2000)
    parameters.W_in[1, 0] = rubbish
    found = tm.measure(es, parameters, samples=2000)
    assert not found.failed
    for name in ("effective_neurons", "affine_substitution", "unexplained_by_affine"):
        torch.testing.assert_close(found.models[name][[0, 2]], alone.models[name], rtol=1e-6, atol=1e-9)
    if not np.isfinite(rubbish):
        assert found.models["effective_neurons"][1].isnan()
        assert found.models["affine_substitution"][1].isnan()


# ---------------------------------------------------------------------------------------------------- effective neurons


@pytest.mark.parametrize("hidden", [1, 5])
def test_effective_neurons_are_scipys(hidden):
    es, parameters = built(tm.Bottleneck(hidden, tm.ReLU(), hidden_bias=True), density=0.1)
    x = sampler(es).evaluation(0, 1500).double()
    z = tm.forward(es[0].bottleneck, parameters, x).pre.numpy()
    for model in range(2):
        share = scipy.special.softmax(z[model], axis=0)[:, (x[model] != 0).any(0).numpy()]
        by_hand = np.exp(scipy.stats.entropy(share, axis=0)).mean() / hidden
        assert effective_neurons(Models(es, parameters), 1500)[model].item() == pytest.approx(by_hand, rel=1e-12)


def test_one_neuron_at_a_time_and_all_alike():
    n = 8
    features = tm.Features(n, 1 / n, firing=tm.One(), values=tm.Binary())
    es = [tm.Experiment(features, tm.Bottleneck(n, tm.SoLU()), seed=seed) for seed in range(2)]
    W = torch.stack([100 * torch.eye(n), torch.ones(n, n)])
    assert effective_neurons(Models(es, tm.Parameters(W_in=W)), 1000).tolist() == pytest.approx([1 / n, 1])


def test_empty_inputs_do_not_count():
    e = tm.Experiment(tm.Features(3, 0.01), tm.Bottleneck(3))
    W = 1e6 * torch.eye(3)[None]
    assert effective_neurons(Models([e], tm.Parameters(W_in=W)), 4000).item() < 0.5  # of z = 0 it is 1
    nothing = tm.Experiment(tm.Dataset(torch.zeros(5, 3)), tm.Bottleneck(3))
    assert effective_neurons(Models([nothing], tm.Parameters(W_in=W)), 4000).isnan().all()


def test_a_routed_layer_whose_load_was_balanced_is_substituted_too() -> None:
    experiment = tm.Experiment(
        tm.Features(6, 0.3),
        tm.Bottleneck(4, tm.ReLU(), tied=False, output=tm.Linear(), experts=2),
        tm.Training(steps=5, batch=16, load_balance=0.1),
    )
    measures = tm.measure([experiment], tm.train([experiment]).parameters, 512)
    assert torch.isfinite(measures.models["affine_substitution"]).all()
