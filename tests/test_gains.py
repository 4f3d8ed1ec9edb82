"""Gains: gated and routed layers against the equations, with their laws; what training adds so that experts share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.conftest import word
from toymodels import (
    SGD,
    Bottleneck,
    Constant,
    Embedding,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    Training,
    forward,
    train,
)
from toymodels.bottleneck import hidden_from, preactivation
from toymodels.engines import ENGINES, Unsupported
from toymodels.gains import imbalance, load, probabilities, product, route
from toymodels.objectives import losses
from toymodels.parameters import TURNED, folded, turned
from toymodels.responses import responses
from toymodels.rotations import rotations_of
from toymodels.surgery import Rotated, operate
from toymodels.training.experiment import importances, sampler, start, target_of

FEATURES = Features(8, 0.3)
DECODER = Bottleneck(6, GeLU(), None, Linear(), tied=False, hidden_bias=True, embedding=Embedding(4))
NEW = {
    "blocks": dataclasses.replace(DECODER, blocks=2),
    "top_k": dataclasses.replace(DECODER, top_k=2),
    "top_k + LN": dataclasses.replace(DECODER, top_k=2, layer_norm=LayerNorm()),
    "experts": dataclasses.replace(DECODER, experts=3, activation=ReLU()),
    "experts without an embedding": Bottleneck(6, GeLU(), tied=True, experts=2),
    "gated": dataclasses.replace(DECODER, gated=True),
    "bilinear": dataclasses.replace(DECODER, gated=True, activation=Linear()),
    "all": Bottleneck(6, GeLU(), None, Linear(), tied=False, hidden_bias=True, gated=True, experts=3, top_k=1),
}
"""the layers that are not dense, by name"""


def of(bottleneck: Bottleneck, seeds: Sequence[int] = (0, 1, 2), **recipe) -> list[Experiment]:
    training = Training(**{"steps": 30, "batch": 16, "learning_rate": 0.02, **recipe})
    return [Experiment(FEATURES, bottleneck, training, seed=seed) for seed in seeds]


def moved(es: Sequence[Experiment], dtype=torch.float64) -> Parameters:
    """Parameters away from their start, so that no bias is 0; weights that are not there stay so."""
    generator = torch.Generator().manual_seed(1)
    began = start(es, sampler(es), dtype)
    named = {
        name: each + 0.3 * torch.randn(each.shape, generator=generator, dtype=dtype) * (each != 0 if "W" in name else 1)
        for name, each in began.trained(es[0].bottleneck).items()
    }
    return dataclasses.replace(began, **named)


@pytest.mark.parametrize("name", ["experts", "experts without an embedding", "gated", "bilinear", "all"])
def test_mid_is_the_equations(name):
    """Example by example, neuron by neuron, in NumPy."""
    b = NEW[name]
    es = of(b)
    parameters, x = moved(es), sampler(es).evaluation(0, 32).double()
    mid = forward(b, parameters, x).mid
    for k in range(len(es)):
        p = {name: each[k].numpy() for name, each in parameters.present().items()}
        for s in range(x.shape[2]):
            u = x[k, :, s].numpy() if "E" not in p else p["E"] @ x[k, :, s].numpy()
            a = b.activation(torch.from_numpy(p["W_in"] @ u + p.get("b_in", 0))).numpy().copy()
            if b.gated:
                a *= p["W_gate"] @ u + p.get("b_gate", 0)
            if b.experts:
                logits = np.exp(p["W_router"] @ u)
                chosen = int(logits.argmax())
                works = np.arange(b.hidden) // (b.hidden // b.experts) == chosen
                a = np.where(works, a * logits[chosen] / logits.sum(), 0)
            if b.top_k:
                a[np.argsort(-np.abs(a))[b.top_k :]] = 0
            np.testing.assert_allclose(mid[k, :, s].numpy(), a, rtol=1e-10, atol=1e-12)


def test_one_expert_is_the_dense_layer_bit_for_bit():
    dense, one = (train(of(b), engine="autograd") for b in (DECODER, dataclasses.replace(DECODER, experts=1)))
    for name, tensor in dense.parameters.present().items():
        assert torch.equal(tensor, one.parameters.present()[name]), name
    assert torch.equal(dense.curve, one.curve)


def test_a_gate_that_is_always_1_is_the_dense_layer():
    es = of(NEW["gated"])
    parameters, x = moved(es), sampler(es).evaluation(0, 64).double()
    assert parameters.W_gate is not None
    assert parameters.b_gate is not None
    open_ = dataclasses.replace(
        parameters, W_gate=torch.zeros_like(parameters.W_gate), b_gate=torch.ones_like(parameters.b_gate)
    )
    dense = dataclasses.replace(open_, W_gate=None, b_gate=None)
    assert torch.equal(forward(NEW["gated"], open_, x).out, forward(DECODER, dense, x).out)


def test_a_bilinear_layer_is_a_quadratic_form_of_what_it_reads():
    """out_t = u' B_t u where there are no biases, B_t = sum_k W_out[t, k] w_k v_k'."""
    b = dataclasses.replace(NEW["bilinear"], hidden_bias=False, output_bias=False)
    es = of(b, (0,))
    p, x = moved(es), sampler(es).evaluation(0, 40).double()
    assert p.W_gate is not None
    assert p.E is not None
    B = torch.einsum("tk,ki,kj->tij", p.decoder[0], p.W_in[0], p.W_gate[0])
    u = p.E[0] @ x[0]
    torch.testing.assert_close(forward(b, p, x).out[0], torch.einsum("is,tij,js->ts", u, B, u))


def permuted(p: Parameters, order: torch.Tensor, experts: torch.Tensor | None = None) -> Parameters:
    """The neurons, and the rows of the router, in another order."""
    neurons = {name: each[:, order] for name, each in p.present().items() if name in (*TURNED, "ln_gain", "ln_bias")}
    router = {} if experts is None or p.W_router is None else {"W_router": p.W_router[:, experts]}
    return dataclasses.replace(p, **neurons, **router, W_out=p.decoder[:, :, order])


@pytest.mark.parametrize("name", NEW)
def test_the_order_of_neurons_within_a_block_or_an_expert_means_nothing(name):
    b = NEW[name]
    es = of(b)
    p, x = moved(es), sampler(es).evaluation(0, 64).double()
    within = b.hidden // b.kinds_of_neurons
    order = torch.arange(b.hidden).view(-1, within).flip(1).flatten()
    free = dataclasses.replace(b, tied=False)
    before, after = forward(free, p, x), forward(free, permuted(p, order), x)
    torch.testing.assert_close(after.out, before.out)
    torch.testing.assert_close(after.mid, before.mid[:, order])


def test_the_order_of_experts_means_nothing():
    b = NEW["experts"]
    es = of(b)
    p, x = moved(es), sampler(es).evaluation(0, 64).double()
    experts = torch.tensor([2, 0, 1])
    order = torch.arange(6).view(3, 2)[experts].flatten()
    before, after = forward(b, p, x), forward(b, permuted(p, order, experts), x)
    filled = (x != 0).any(1, keepdim=True)  # of nothing at all every expert is as good, and the first is taken
    torch.testing.assert_close(after.out * filled, before.out * filled)


@pytest.mark.parametrize("name", NEW)
def test_trained_alone_is_trained_in_a_batch(name):
    together = train(of(NEW[name]))
    for seed in range(3):
        alone = train(of(NEW[name], (seed,)))
        for parameter, tensor in alone.parameters.present().items():
            torch.testing.assert_close(tensor[0], together.parameters.present()[parameter][seed], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NEW)
def test_gradients_are_those_of_finite_differences(name):
    b = NEW[name]
    es = of(b, (0,))
    p, data = moved(es), sampler(es)
    x = data.evaluation(0, 24).double()
    x = x[:, :, x.abs().amax(1)[0] > 0]  # of nothing at all, experts and neurons may be equal: no derivative
    t, importance = target_of(es)(x), torch.from_numpy(importances(es))
    names = list(p.trained(b))

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        changed = dataclasses.replace(p, **dict(zip(names, tensors, strict=True)))
        return losses(importance, t, forward(b, changed, x).out, es[0].cost).sum()

    weights = [p.present()[each].clone().requires_grad_() for each in names]
    assert torch.autograd.gradcheck(loss, weights, eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NEW)
def test_float32_follows_float64(name):
    fast, exact = (train(of(NEW[name]), dtype=dtype) for dtype in (torch.float32, torch.float64))
    for parameter, tensor in exact.parameters.present().items():
        torch.testing.assert_close(fast.parameters.present()[parameter].double(), tensor.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NEW)
def test_the_fused_engine_refuses_it_by_name_and_auto_takes_autograd(name):
    setting = "blocks" if name == "blocks" else name.split()[0].replace("bilinear", "gated").replace("all", "top_k")
    with pytest.raises(Unsupported, match=f"the setting '{setting}' of Bottleneck"):
        train(of(NEW[name]), engine="fused")
    ours, reference = (engine(of(NEW[name])).parameters.W_in for engine in (train, ENGINES["autograd"].train))
    assert torch.equal(ours, reference)


def test_gates_and_routers_start_at_the_streams_words():
    from scipy.stats import norm

    b = dataclasses.replace(DECODER, gated=True, experts=2, init_scale=3.0)
    p = start(of(b, (5,)), sampler(of(b, (5,))), torch.float64)
    for name, step, scale in (("W_gate", 1, 1.5), ("W_router", 2, 0.5)):
        W = p.present()[name][0].numpy()
        words = [[norm.ppf((word(5, i, k, step, 2) + 0.5) / 2**32) for i in range(4)] for k in range(len(W))]
        np.testing.assert_allclose(W, np.array(words) * scale, rtol=1e-12)
    assert p.b_gate is not None
    assert not p.b_gate.any()


# ------------------------------------------------------------------------------------------------------------- routing


def test_the_first_of_equals_is_chosen_and_its_probability_is_the_gain():
    p = torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.4, 0.0]])[None]
    expected = torch.tensor([[0, 0.5], [0, 0.5], [0.4, 0], [0.4, 0], [0, 0], [0, 0]])
    assert torch.equal(route(p, 6)[0], expected)
    assert load(p)[0].tolist() == [0.5, 0.5, 0]


def test_imbalance_is_1_of_an_even_load_and_experts_of_one_that_does_all():
    even = torch.eye(4).repeat(1, 5)[None] * 0.6 + 0.1
    assert imbalance(even).item() == pytest.approx(1)
    one = torch.zeros(1, 4, 20)
    one[:, 2] = 1
    assert imbalance(one).item() == pytest.approx(4)


def test_the_load_is_of_empty_examples_too_which_are_the_first_experts():
    W = torch.tensor([[[-1.0], [1.0]]])
    p = probabilities(W, torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
    assert load(p).tolist() == [[0.75, 0.25]]


def test_what_balance_adds_to_a_step_is_the_gradient_of_the_imbalance():
    """One step of SGD with and without: the difference is -rate alpha L_0 grad imbalance, in the router alone."""
    b, alpha = NEW["experts"], 0.3
    recipe = {"steps": 1, "optimizer": SGD(), "learning_rate": 0.1, "schedule": Constant()}
    without, balanced = (train(of(b, load_balance=a, **recipe), dtype=torch.float64).parameters for a in (0.0, alpha))
    es = of(b, **recipe)
    began, x = start(es, sampler(es), torch.float64), sampler(es).training(0, 16).double()
    assert began.E is not None
    assert began.W_router is not None
    W = began.W_router.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(imbalance(probabilities(W, began.E @ x)).sum(), W)
    constant = torch.tensor([e.best_constant_loss() for e in es])[:, None, None]
    assert balanced.W_router is not None
    assert without.W_router is not None
    torch.testing.assert_close(balanced.W_router - without.W_router, -0.1 * alpha * constant * gradient)
    for name in ("W_in", "W_out", "b_in", "b_out"):
        assert torch.equal(balanced.present()[name], without.present()[name])


def test_balance_without_experts_is_refused():
    with pytest.raises(ValueError, match="load_balance: there is no router"):
        of(DECODER, load_balance=0.1)


def test_products_of_gains():
    a, b = torch.tensor([2.0]), torch.tensor([3.0])
    assert product(None, None) is None
    assert product(a, None) is a
    assert product(a, b) == 6


# ------------------------------------------------------------------------------------ what looks at a part of the layer


@pytest.mark.parametrize("name", ["gated", "experts", "all"])
def test_a_gain_that_is_missing_is_refused_in_a_sentence(name):
    es = of(NEW[name])
    p = moved(es)
    with pytest.raises(ValueError, match="got one that is gated or routed"):
        hidden_from(NEW[name], p, preactivation(p, sampler(es).evaluation(0, 4).double()))


@pytest.mark.parametrize("name", NEW)
def test_responses_are_differences_of_whole_forward_passes(name):
    b = NEW[name]
    es = of(b)
    p = moved(es)
    for values in (torch.full((3, 8), 0.7, dtype=torch.float64), torch.tensor([0.5, 1, 2], dtype=torch.float64)):
        x = torch.diag_embed(values if values.dim() == 2 else values[:, None].expand(3, 8))
        moves = forward(b, p, x).mid - forward(b, p, torch.zeros_like(x)).mid
        if b.layer_norm is not None:  # about the median of six neurons
            moves = moves - moves.sort(1).values[:, 2:4].mean(1, keepdim=True)
        torch.testing.assert_close(responses(b, p, values), moves)


@pytest.mark.parametrize("name", NEW)
def test_rotated_neurons_are_those_of_turned_parameters(name):
    """What the engine says of each rotation, and what surgery does, against NumPy's correlations."""
    b = NEW[name]
    es = of(b, (0, 1))
    p, Q = moved(es), rotations_of(b, 3, 0)
    found = ENGINES["autograd"].rotated_r2(es, p, Q, 64, 1500)
    x = sampler(es).evaluation(64, 1500).double()
    t = target_of(es)(x).numpy()
    for draw, q in enumerate(Q.double()):
        free = dataclasses.replace(b, tied=False)
        post = forward(free, dataclasses.replace(turned(p, q), W_out=p.decoder), x).post
        torch.testing.assert_close(operate(b, p, x, Rotated(q)).post, post)
        for model in range(2):
            with np.errstate(divide="ignore", invalid="ignore"):
                squared = np.nan_to_num(np.corrcoef(post[model].numpy(), t[model])[: b.hidden, b.hidden :] ** 2)
            np.testing.assert_allclose(found[model, draw], squared.max(0), rtol=1e-6)


@pytest.mark.parametrize("name", NEW)
def test_folded_parameters_are_the_same_hidden_layer_of_the_features(name):
    b = NEW[name]
    es = of(b)
    p, x = moved(es), sampler(es).evaluation(0, 64).double()
    assert folded(p).E is None
    torch.testing.assert_close(forward(b, folded(p), x).out, forward(b, p, x).out)
