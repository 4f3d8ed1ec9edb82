"""Surgery: what is frozen at a point reproduces the model there, and what is fitted is the best there is."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.nn import functional

from toymodels import (
    AbsoluteValue,
    Activation,
    Binary,
    Bottleneck,
    CrossEntropy,
    Elementwise,
    Experiment,
    Features,
    Frequency,
    GeLU,
    Geometric,
    Importance,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    SoLU,
    Training,
    Zipf,
    forward,
)
from toymodels.activations import ACTIVATIONS
from toymodels.bottleneck import live_norm
from toymodels.hosts import Models
from toymodels.initialisation import initialise
from toymodels.layer_norm import centred, normalise
from toymodels.rotations import haar
from toymodels.surgery import (
    FrozenMask,
    FrozenNorm,
    Intervention,
    KeepLargest,
    Rotated,
    Switched,
    Threshold,
    WithoutNorm,
    geometric_mean_scale,
    loss_optimal_scale,
    norm_statistics,
    operate,
    refit,
)
from toymodels.training.experiment import sampler, start

N, M, K, B = 6, 5, 3, 9
POINTS = ("pre", "mid", "post", "readout", "out")


@dataclass(frozen=True)
class Cube(Elementwise):
    """f(z) = z + z^3: somebody's own activation."""

    name = "cube"

    def __call__(self, z, dim=-1):
        return z + z**3

    def derivative(self, z):
        return 1 + 3 * z.square()


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    name = "sigmoid"

    def __call__(self, z, dim=-1):
        return torch.sigmoid(z)

    def derivative(self, z):
        return torch.sigmoid(z) * torch.sigmoid(-z)


def experiments_of(bottleneck, density=0.3, **given):
    features = Features(N, density, Frequency(Zipf(0.7), cap=0.9), Importance(Geometric(0.8)))
    return [Experiment(features, bottleneck, seed=seed, **given) for seed in range(K)]


def model(bottleneck, seed=0, dtype=torch.float64):
    """Parameters about as trained ones are: none zero, none equal."""
    generator = torch.Generator().manual_seed(seed)
    start = initialise([bottleneck] * K, sampler(experiments_of(bottleneck)), dtype)
    moved = {
        name: tensor + 0.4 * torch.randn(tensor.shape, generator=generator, dtype=dtype)
        for name, tensor in start.trained(bottleneck).items()
    }
    return Parameters(**moved, ln_eps=start.ln_eps)


def data(seed=1, batch=B, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((K, N, batch), generator=generator, dtype=dtype)


def bottlenecks(norms=st.sampled_from([None, LayerNorm(), LayerNorm(0.0), LayerNorm(1e-12, affine=False)])):
    return st.builds(
        Bottleneck,
        hidden=st.integers(2, 7),
        activation=st.sampled_from([*ACTIVATIONS.values(), Cube()]),
        layer_norm=norms,
        output=st.sampled_from([ReLU(), Linear()]),
        output_bias=st.booleans(),
        tied=st.booleans(),
        hidden_bias=st.booleans(),
    )


with_norm = bottlenecks(st.builds(LayerNorm, st.sampled_from([0.0, 1e-12, 1e-5, 0.1]), st.booleans()))
seeds = st.integers(0, 10**6)
quick = settings(max_examples=40)


def close(taps, expected, tolerance=1e-9):
    for point in POINTS:
        torch.testing.assert_close(getattr(taps, point), getattr(expected, point), rtol=tolerance, atol=tolerance)


def changed(bottleneck, parameters, x, mid):
    """The read-out of ``mid``, by the equations."""
    post = mid
    if bottleneck.layer_norm:
        post = normalise(mid, parameters.ln_eps[:, None, None], dim=1)
        if parameters.ln_gain is not None:
            post = post * parameters.ln_gain[:, :, None] + parameters.ln_bias[:, :, None]
    return parameters.decoder @ post + (0 if parameters.b_out is None else parameters.b_out[:, :, None])


# No intervention


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [None, LayerNorm(), LayerNorm(0.0, affine=False)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=lambda a: a.name)
@pytest.mark.parametrize("tied", [True, False])
def test_without_interventions_it_is_forward_bit_for_bit(activation, norm, tied, dtype):
    b = Bottleneck(M, activation, norm, tied=tied, hidden_bias=not tied, output_bias=tied)
    parameters, x = model(b, dtype=dtype), data(dtype=dtype)
    taps, expected = operate(b, parameters, x), forward(b, parameters, x)
    base = operate(b, parameters, x, Intervention(), KeepLargest(M), Threshold(0.0))
    for point in POINTS:
        assert torch.equal(getattr(taps, point), getattr(expected, point))
        assert torch.equal(getattr(base, point), getattr(expected, point))


def test_x_is_cast_to_the_precision_of_the_parameters():
    b = Bottleneck(M, SoLU(), LayerNorm())
    x = data(dtype=torch.float32)
    assert operate(b, model(b), x).out.dtype == torch.float64
    everything = (Switched([1]), Rotated(torch.eye(M)), FrozenMask(torch.ones(K, M, 1)), FrozenNorm(torch.ones(K)))
    assert operate(b, model(b), x, *everything).out.dtype == torch.float64
    halved = model(b, dtype=torch.float32)
    wide = (Rotated(torch.eye(M).double()), FrozenMask(data(batch=1)[:, :M]), FrozenNorm(torch.ones(K).double()))
    assert operate(b, halved, x.double(), *wide).out.dtype == torch.float32


# Frozen at the point


@quick
@given(bottlenecks(), seeds)
def test_a_mask_frozen_at_the_point_reproduces_the_model(b, seed):
    parameters, x = model(b, seed), data(seed)
    expected = forward(b, parameters, x)
    close(operate(b, parameters, x, FrozenMask(expected.pre)), expected)


@quick
@given(with_norm, seeds)
def test_a_norm_frozen_at_the_point_reproduces_the_model(b, seed):
    parameters, x = model(b, seed), data(seed)
    expected = forward(b, parameters, x)
    mean, scale = norm_statistics(b, parameters, expected.mid)
    assert mean.shape == scale.shape == (K, 1, B)
    close(operate(b, parameters, x, FrozenNorm(scale)), expected)
    close(operate(b, parameters, x, FrozenNorm(scale, mean)), expected)
    close(operate(b, parameters, x, FrozenMask(expected.pre), FrozenNorm(scale, mean)), expected)


@quick
@given(with_norm, seeds)
def test_with_mask_and_norm_frozen_the_read_out_is_affine_in_x(b, seed):
    parameters, point, x, y = model(b, seed), data(seed, 1), data(seed + 1), data(seed + 2)
    there = forward(b, parameters, point)
    mean, scale = norm_statistics(b, parameters, there.mid)

    def f(x):
        return operate(b, parameters, x, FrozenMask(there.pre), FrozenNorm(scale, mean)).readout

    excess = f(x + y) - f(x) - f(y) + f(torch.zeros_like(x))
    assert excess.abs().max() <= 1e-9 * max(1, f(x + y).abs().max())


def test_another_examples_norm_is_that_examples_statistics():
    b = Bottleneck(M, GeLU(), LayerNorm())
    parameters, x, other = model(b), data(1, 1), data(2, 1)
    mean, scale = norm_statistics(b, parameters, forward(b, parameters, other).mid)
    mid = forward(b, parameters, x).mid
    assert parameters.ln_gain is not None
    assert parameters.ln_bias is not None
    expected = parameters.ln_gain[:, :, None] * (mid - mean) * scale + parameters.ln_bias[:, :, None]
    assert torch.allclose(operate(b, parameters, x, FrozenNorm(scale, mean)).post, expected)


@pytest.mark.parametrize(
    "activation, limit", [("relu", 0), ("elu", 1), ("xexp", 1), ("silu", 0.5), ("gelu", 0.5), ("linear", 1)]
)
def test_a_mask_has_its_limit_at_zero(activation, limit):
    z0 = torch.tensor([0.0, -0.0, 2.0, -2.0]).double()[None, :, None]
    mask = FrozenMask(z0).on_activation(ACTIVATIONS[activation])(torch.ones_like(z0), dim=1)
    assert mask[0, :2, 0].tolist() == [limit, limit]
    assert torch.allclose(mask[:, 2:], ACTIVATIONS[activation](z0, dim=1)[:, 2:] / z0[:, 2:])
    assert FrozenMask(z0).on_activation(Cube())(z0, dim=1)[0, 0, 0] == 0


def test_the_mask_of_solu_is_its_softmax_however_it_is_written():
    @dataclass(frozen=True)
    class Homemade(Activation):
        name = "homemade"

        def __call__(self, z, dim=-1):
            return SoLU()(z, dim)

        def jvp(self, z, v, dim=-1):
            return SoLU().jvp(z, v, dim)

    z0 = torch.tensor([0.0, 0.0, 1.0, -3.0]).double()[None, :, None]
    for activation in (SoLU(), Homemade()):
        masked = FrozenMask(z0).on_activation(activation)
        assert torch.allclose(masked(torch.ones_like(z0), dim=1), torch.softmax(z0, 1), rtol=1e-14)
        assert torch.allclose(masked.jvp(z0, z0, dim=1), masked(z0, dim=1))


# The hidden layer


@given(st.lists(st.integers(-3, 3), min_size=M, max_size=M), st.integers(0, M + 2))
def test_exactly_the_k_largest_are_kept_and_ties_go_to_the_lower_index(values, k):
    mid = torch.tensor(values).double()[None, :, None] + 0.0
    kept = KeepLargest(k).on_mid(mid, None)[0, :, 0].tolist()
    order = sorted(range(M), key=lambda i: (-abs(values[i]), i))[:k]
    assert kept == [values[i] if i in order else 0 for i in range(M)]


@given(
    st.lists(st.integers(-3, 3), min_size=M, max_size=M) | st.lists(st.integers(-3, 3), min_size=4, max_size=4),
    st.integers(0, M + 2),
    st.integers(-9, 9),
)
def test_before_a_layer_norm_the_k_farthest_from_the_median_are_kept_whatever_is_added_to_all(values, k, c):
    mid = torch.tensor(values).double()[None, :, None]
    kept = KeepLargest(k).on_mid(mid, centred)[0, :, 0].tolist()
    middle = statistics.median(values)
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i] - middle), i))[:k]
    if k < len(values):
        assert kept == [values[i] if i in order else middle for i in range(len(values))]
    assert (KeepLargest(k).on_mid(mid + c, centred)[0, :, 0] - c).tolist() == kept
    small = [value if abs(value - middle) >= 1.5 else middle for value in values]
    assert (Threshold(1.5).on_mid(mid + c, centred)[0, :, 0] - c).tolist() == small


def test_whether_a_layer_norm_follows_is_asked_when_all_interventions_are_known():
    b = Bottleneck(M, Linear(), LayerNorm())
    parameters, x = model(b), data()
    bare = dataclasses.replace(b, layer_norm=None)
    for order in ([KeepLargest(2), WithoutNorm()], [WithoutNorm(), KeepLargest(2)]):
        close(operate(b, parameters, x, *order), operate(bare, parameters, x, KeepLargest(2)), 0)


@pytest.mark.parametrize("intervention", [KeepLargest(2), Threshold(0.3)], ids=lambda each: type(each).__name__)
def test_what_is_kept_of_a_layer_does_not_depend_on_what_layer_norm_cannot_see(intervention):
    b = Bottleneck(M, Linear(), LayerNorm(), tied=False)
    parameters, x = model(b), data()
    v = torch.linspace(-2, 3, N).double()
    shifted = dataclasses.replace(parameters, W_in=parameters.W_in + v)
    out = operate(b, parameters, x, intervention).out
    assert torch.allclose(operate(b, shifted, x, intervention).out, out, atol=1e-9)
    assert not torch.allclose(forward(b, parameters, x).out, out, atol=1e-3)
    bare = dataclasses.replace(b, layer_norm=None)
    seen = operate(bare, parameters, x, intervention).out
    assert not torch.allclose(operate(bare, shifted, x, intervention).out, seen, atol=1e-3)


def test_the_largest_are_chosen_example_by_example():
    b = Bottleneck(M, GeLU())
    parameters, x = model(b), data()
    taps, whole = operate(b, parameters, x, KeepLargest(2)), forward(b, parameters, x).mid
    assert ((taps.mid != 0).sum(1) == 2).all()
    assert (taps.mid.abs().amax(1) == whole.abs().amax(1)).all()
    assert torch.allclose(taps.readout, changed(b, parameters, x, taps.mid))


def test_what_is_below_the_threshold_is_set_to_zero_and_what_is_at_it_stays():
    mid = torch.tensor([[0.5, -0.5, 0.4, -2.0]] * K)[:, :, None]
    assert Threshold(0.5).on_mid(mid, None)[0, :, 0].tolist() == [0.5, -0.5, 0, -2]
    each = Threshold(torch.tensor([0.0, 1.0, 9.0])).on_mid(mid, None)
    assert (each != 0).sum(1)[:, 0].tolist() == [4, 1, 0]


# The input, the basis, the norm


@pytest.mark.parametrize("value", [0.0, 0.7, torch.tensor([0.1, 0.2, 0.3]).double()])
def test_switched_is_x_edited_by_hand(value):
    b = Bottleneck(M, SoLU(), LayerNorm())
    parameters, x = model(b), data()
    each = torch.as_tensor(value, dtype=torch.float64).reshape(-1, 1, 1)
    by_index = x.clone()
    by_index[:, [1, 4]] = each
    expected = forward(b, parameters, by_index)
    mask = torch.tensor([False, True, False, False, True, False])
    for features in ([1, 4], (4, 1), torch.tensor([1, 4]), mask, mask.expand(K, N)):
        close(operate(b, parameters, x, Switched(features, value)), expected, 0)
    own = torch.rand((K, N), generator=torch.Generator().manual_seed(0)) < 0.5
    edited = torch.where(own[:, :, None], each, x)
    close(operate(b, parameters, x, Switched(own, value)), forward(b, parameters, edited), 0)
    close(operate(b, parameters, x, Switched([], value)), forward(b, parameters, x), 0)


@pytest.mark.parametrize("tied", [True, False])
def test_a_rotation_and_its_inverse_leave_the_model(tied):
    b = Bottleneck(M, GeLU(), LayerNorm(), tied=tied, hidden_bias=True)
    parameters, x, Q = model(b), data(), haar(np.arange(K), M, 0)
    close(operate(b, parameters, x, Rotated(Q), Rotated(Q.transpose(1, 2))), forward(b, parameters, x))
    close(operate(b, parameters, x, Rotated(Q[0]), Rotated(Q[0].T)), forward(b, parameters, x))
    rotated = operate(b, parameters, x, Rotated(Q))
    assert torch.allclose(rotated.pre, Q @ forward(b, parameters, x).pre)
    assert torch.allclose(rotated.mid, GeLU()(rotated.pre))
    assert torch.allclose(rotated.readout, changed(b, parameters, x, rotated.mid))


@pytest.mark.parametrize("tied", [True, False])
def test_a_linear_layer_read_out_in_the_rotated_basis_is_the_same(tied):
    b = Bottleneck(M, Linear(), tied=tied, hidden_bias=True)
    parameters, x, Q = model(b), data(), haar(np.arange(K), M, 0)
    turned = dataclasses.replace(parameters, W_out=parameters.decoder @ Q.transpose(1, 2))
    assert torch.allclose(operate(b, turned, x, Rotated(Q)).out, forward(b, parameters, x).out)


def test_without_norm_nothing_of_layer_norm_is_left():
    b = Bottleneck(M, SoLU(), LayerNorm())
    bare = dataclasses.replace(b, layer_norm=None)
    parameters, x = model(b), data()
    close(operate(b, parameters, x, WithoutNorm()), forward(bare, parameters, x), 0)
    close(operate(bare, parameters, x, WithoutNorm()), forward(bare, parameters, x), 0)
    close(operate(b, parameters, x, FrozenNorm(2.0), WithoutNorm()), forward(bare, parameters, x), 0)


def test_each_place_sees_the_interventions_in_order():
    b = Bottleneck(M, GeLU(), LayerNorm())
    parameters, x = model(b), data()
    mid, size = forward(b, parameters, x).mid, 0.3

    @dataclass(frozen=True)
    class Doubled(Intervention):
        def on_mid(self, mid, norm):
            return 2 * mid

    for order in ([Doubled(), Threshold(size)], [Threshold(size), Doubled()]):
        expected = mid
        for intervention in order:
            expected = intervention.on_mid(expected, live_norm(b, parameters))
        assert torch.equal(operate(b, parameters, x, *order).mid, expected)
    last = operate(b, parameters, x, Switched([0], 1.0), Switched([0], 2.0))
    close(last, operate(b, parameters, x, Switched([0], 2.0)), 0)
    close(operate(b, parameters, x, FrozenNorm(1.0), FrozenNorm(2.0)), operate(b, parameters, x, FrozenNorm(2.0)), 0)
    # Places are apart: it makes no difference whether what is done to x is named before or after what is done to mid.
    both = (Switched([2]), KeepLargest(2), FrozenNorm(3.0))
    close(operate(b, parameters, x, *both), operate(b, parameters, x, *both[::-1]), 0)


def test_a_mask_already_frozen_stays_as_it_is():
    b = Bottleneck(M, SoLU())
    parameters, x = model(b), data()
    first, second = FrozenMask(data(3, 1)[:, :M]), FrozenMask(data(4, 1)[:, :M])
    close(operate(b, parameters, x, first, second), operate(b, parameters, x, first), 1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-5])
def test_an_all_equal_layer_is_normalised_to_zero(eps):
    b = Bottleneck(M, ReLU(), LayerNorm(eps))
    parameters = model(b)
    mid = torch.tensor([0.0, 0.1, 1e9]).double()[:, None, None].expand(K, M, 2)
    mean, scale = norm_statistics(b, parameters, mid)
    assert torch.equal(mean, mid[:, :1])
    assert torch.allclose(scale, torch.full_like(scale, eps**-0.5 if eps else 0.0))
    for norm in (FrozenNorm(scale), FrozenNorm(scale, mean)):
        live = norm.on_norm(lambda a: a)
        assert torch.equal(live(mid), torch.zeros_like(mid))
    x = torch.zeros(K, N, 2).double()
    taps = operate(b, parameters, x, FrozenNorm(norm_statistics(b, parameters, forward(b, parameters, x).mid)[1]))
    close(taps, forward(b, parameters, x), 1e-12)


# The scales


def evaluation(bottleneck, samples, first=0, **given):
    return sampler(experiments_of(bottleneck, **given)).evaluation(first, samples).double()


@pytest.mark.parametrize("first", [0, 8])
def test_the_geometric_mean_is_over_non_empty_inputs_of_finite_scale(first):
    b = Bottleneck(M, ReLU(), LayerNorm(0.0), output=Linear())
    parameters = model(b)
    x = evaluation(b, 700, first)
    mid = forward(b, parameters, x).mid
    scale = 1 / mid.var(1, correction=0).sqrt()
    measured = geometric_mean_scale(Models(experiments_of(b), parameters), 700, first)
    empty = 0
    for k in range(K):
        counted = (x[k] != 0).any(0) & scale[k].isfinite()
        empty += int((~counted).sum())
        assert measured[k].item() == pytest.approx(scale[k][counted].log().mean().exp().item(), rel=1e-9)
    assert empty > 0
    assert measured.dtype == torch.float64


def test_no_scale_at_all_is_nan():
    b = Bottleneck(M, ReLU(), LayerNorm(0.0))
    dead = dataclasses.replace(model(b), W_in=torch.zeros(K, M, N).double())
    assert geometric_mean_scale(Models(experiments_of(b), dead), 64).isnan().all()
    assert loss_optimal_scale(Models(experiments_of(b), dead), 64).isnan().all()


def constant_scale_loss(b, parameters, x, t, importance, k, *interventions):
    """The loss of model k as a function of the constant scale."""

    def loss(c):
        y = operate(b, parameters[[k]], x[[k]], *interventions, FrozenNorm(float(c))).out
        return float(((t[[k]] - y).square().mean(2) * importance).sum())

    return loss


@pytest.mark.parametrize("output", [ReLU(), Linear()], ids=["relu", "linear"])
@pytest.mark.parametrize("interventions", [(), (KeepLargest(2),)], ids=["whole", "two largest"])
def test_the_loss_optimal_scale_is_the_minimum(output, interventions):
    b = Bottleneck(M, SoLU(), LayerNorm(), output=output)
    parameters, samples = refit(Models(experiments_of(b), model(b)), samples=600).parameters, 600
    x = evaluation(b, samples)
    importance = torch.from_numpy(experiments_of(b)[0].importance())
    found = loss_optimal_scale(Models(experiments_of(b), parameters), samples, 0, interventions)
    for k in range(K):
        loss = constant_scale_loss(b, parameters, x, x, importance, k, *interventions)
        centre = float(geometric_mean_scale(Models(experiments_of(b), parameters), samples, 0, interventions)[k])
        assert 2**-4.5 < float(found[k]) / centre < 2**4.5
        dense = min(np.geomspace(centre / 32, centre * 32, 300), key=loss)
        best = minimize_scalar(loss, bounds=(dense * 0.97, dense * 1.03), method="bounded", options={"xatol": 1e-9})
        assert loss(found[k]) <= loss(dense)
        assert loss(found[k]) == pytest.approx(best.fun, rel=1e-9)
        assert float(found[k]) == pytest.approx(best.x, rel=1e-4)


def test_the_loss_optimal_scale_is_the_minimum_of_another_loss_too():
    b = Bottleneck(M, SoLU(), LayerNorm(), output=Linear(), tied=False)
    bits = Features(N, 0.3, values=Binary())
    es = [Experiment(bits, b, Training(steps=1, batch=4), seed=seed, loss=CrossEntropy()) for seed in range(2)]
    data = sampler(es)
    parameters = start(es, data, torch.float64)
    x, found = data.evaluation(0, 600).double(), loss_optimal_scale(Models(es, parameters), 600)
    for k in range(2):

        def loss(scale: float, k: int = k) -> float:
            frozen = FrozenNorm(torch.full((2,), scale, dtype=torch.float64))
            y = operate(b, parameters, x, frozen).out[k]
            return functional.binary_cross_entropy_with_logits(y, x[k], reduction="none").sum(0).mean().item()

        centre = float(geometric_mean_scale(Models(es, parameters), 600)[k])
        dense = min(np.geomspace(centre / 32, centre * 32, 400), key=loss)
        assert loss(float(found[k])) <= loss(dense)


def test_with_a_linear_output_the_scale_is_that_of_the_quadratic():
    b = Bottleneck(M, GeLU(), LayerNorm(), output=Linear(), tied=False)
    arms = experiments_of(b)
    parameters = refit(Models(arms, model(b)), samples=500).parameters
    x = evaluation(b, 500)
    v = operate(b, parameters, x, FrozenNorm(0.0)).readout
    u = operate(b, parameters, x, FrozenNorm(1.0)).readout - v
    weight = torch.from_numpy(arms[0].importance())[None, :, None]
    exact = (weight * u * (x - v)).sum((1, 2)) / (weight * u.square()).sum((1, 2))
    assert torch.allclose(loss_optimal_scale(Models(arms, parameters), 500), exact, rtol=2e-6)
    single = parameters.to("cpu", torch.float32)
    assert torch.allclose(loss_optimal_scale(Models(arms, single), 500), exact, rtol=1e-3)


# The read-out fitted anew


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("interventions", [(), (KeepLargest(2), FrozenNorm(2.0))], ids=["whole", "operated"])
@pytest.mark.parametrize("penalty", [0.0, 1e-6, 0.3])
def test_refit_is_ridge_regression(bias, interventions, penalty):
    # After LayerNorm the neurons sum to a constant, so without a penalty no W_out is the only best one.
    b = Bottleneck(M, GeLU(), LayerNorm() if penalty else None, output=Linear(), output_bias=bias)
    if not penalty:
        interventions = interventions[:1]
    arms, parameters, samples = experiments_of(b), model(b), 400
    fitted = refit(Models(arms, parameters), *interventions, samples=samples, penalty=penalty).parameters
    x = evaluation(b, samples)
    post = operate(b, parameters, x, *interventions).post
    assert fitted.W_out is not None
    for k in range(K):
        h, t = post[k].T.numpy(), x[k].T.numpy()
        alpha = penalty * samples * h.var(0).mean()
        # Ridge is least squares with sqrt(alpha) I appended; the intercept by centring, so that it is not penalised.
        H, T = (h - h.mean(0), t - t.mean(0)) if bias else (h, t)
        H, T = np.vstack([H, np.sqrt(alpha) * np.eye(M)]), np.vstack([T, np.zeros((M, N))])
        W = np.linalg.lstsq(H, T)[0].T
        assert np.allclose(fitted.W_out[k].numpy(), W, rtol=1e-6, atol=1e-8)
        if fitted.b_out is not None:
            assert np.allclose(fitted.b_out[k].numpy(), t.mean(0) - W @ h.mean(0), rtol=1e-6, atol=1e-8)
    assert (fitted.b_out is not None) == bias


@quick
@given(bottlenecks(), seeds, st.sampled_from([(), (KeepLargest(1),), (WithoutNorm(),), (Threshold(0.2),)]))
def test_refit_never_raises_the_squared_error_on_its_own_data(b, seed, interventions):
    b = dataclasses.replace(b, hidden=M, output=Linear())
    arms, parameters = experiments_of(b), model(b, seed)
    fitted = refit(Models(arms, parameters), *interventions, samples=300, penalty=1e-12).parameters
    x = evaluation(b, 300)

    def error(parameters):
        return (operate(b, parameters, x, *interventions).readout - x).square().mean((1, 2))

    assert (error(fitted) <= error(parameters) * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 1e-6])
@pytest.mark.parametrize("dead", [slice(0, 1), slice(0, M)], ids=["one", "all"])
def test_dead_neurons_are_no_nan(dead, penalty, bias):
    b = Bottleneck(M, ReLU(), output_bias=bias, hidden_bias=True)
    parameters = model(b)
    assert parameters.b_in is not None
    parameters.W_in[:, dead] = 0
    parameters.b_in[:, dead] = 0.123  # dead to x, though not silent: constant, and so of no use beside an intercept
    fitted = refit(Models(experiments_of(b), parameters), samples=500, penalty=penalty).parameters
    assert all(tensor.isfinite().all() for tensor in fitted.present().values())
    assert fitted.W_out is not None
    assert fitted.W_out.abs().max() < 100
    if bias:
        assert fitted.W_out[:, :, dead].abs().max() < 1e-12


def test_one_diverged_model_leaves_the_others_alone():
    b = Bottleneck(M, SoLU(), LayerNorm())
    parameters = model(b)
    whole = refit(Models(experiments_of(b), parameters), samples=100).parameters
    parameters.W_in[1] = torch.nan
    fitted = refit(Models(experiments_of(b), parameters), samples=100).parameters
    assert whole.W_out is not None
    assert fitted.W_out is not None
    assert torch.allclose(fitted.W_out[[0, 2]], whole.W_out[[0, 2]])
    assert fitted.W_out[1].isnan().all()
    assert geometric_mean_scale(Models(experiments_of(b), parameters), 100).isnan().tolist() == [False, True, False]


def test_refit_follows_the_target_the_precision_and_what_was_trained():
    b = Bottleneck(M, GeLU(), LayerNorm())
    features = Features(N, 0.4, signed=True)
    arms = [Experiment(features, b, target=AbsoluteValue(), seed=seed) for seed in range(K)]
    parameters = model(b, dtype=torch.float32)
    fitted = refit(Models(arms, parameters), samples=2000).parameters
    assert fitted.W_out is not None
    assert fitted.W_out.dtype == torch.float32
    for name in ("W_in", "ln_gain", "ln_bias", "ln_eps"):
        assert getattr(fitted, name) is getattr(parameters, name)
    x = sampler(arms).evaluation(0, 2000)
    error = x.abs() - operate(b, fitted, x).readout
    assert error.mean(2).abs().max() < 1e-5


# Refusals


def test_refusals_are_one_sentence():
    b, plain = Bottleneck(M, GeLU(), LayerNorm()), Bottleneck(M, GeLU())
    parameters, x, arms = model(b), data(), experiments_of(b)
    without = model(plain)
    for call, says in (
        (lambda: operate(plain, without, x, FrozenNorm(1.0)), "LayerNorm"),
        (lambda: operate(b, parameters, x, WithoutNorm(), FrozenNorm(1.0)), "LayerNorm"),
        (lambda: norm_statistics(plain, without, x[:, :M]), "LayerNorm"),
        (lambda: geometric_mean_scale(Models(experiments_of(plain), without), 8), "LayerNorm"),
        (lambda: loss_optimal_scale(Models(experiments_of(plain), without), 8), "LayerNorm"),
        (lambda: operate(b, parameters, x, Switched([N])), "features"),
        (lambda: operate(b, parameters, x, Switched([-1])), "features"),
        (lambda: operate(b, parameters, x, Switched(torch.ones(N - 1, dtype=torch.bool))), "features"),
        (lambda: operate(b, parameters, x, Switched([0], torch.ones(K + 1))), "value"),
        (lambda: operate(b, parameters, x, Threshold(torch.ones(K + 1))), "size"),
        (lambda: operate(b, parameters, x, FrozenNorm(torch.ones(K + 1))), "scale"),
        (lambda: operate(b, parameters, x, Rotated(torch.eye(M + 1))), "Q"),
        (lambda: FrozenMask(torch.zeros(K, M)), "z0"),
        (lambda: FrozenMask(torch.zeros(K, M, 1)).on_activation(Sigmoid()), "0 at 0"),
        (lambda: KeepLargest(-1), "k"),
        (lambda: refit(Models(arms, parameters), penalty=-1.0).parameters, "penalty"),
        (lambda: refit(Models(arms, parameters), samples=0).parameters, "samples"),
        (lambda: refit(Models(arms[:2], parameters)).parameters, "of 2 models, got 3"),
        (lambda: refit(Models([], parameters)).parameters, "at least one experiment"),
        (lambda: loss_optimal_scale(Models(arms, parameters), 8, 2), "multiple of 4"),
    ):
        with pytest.raises(ValueError, match=says) as refused:
            call()
        assert "\n" not in str(refused.value)
        assert ". " not in str(refused.value)
    with pytest.raises(TypeError, match="Intervention"):
        operate(b, parameters, x, [KeepLargest(1)])  # pyright: ignore[reportArgumentType]
