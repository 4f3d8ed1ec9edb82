"""The layer as a module: the forward pass of `toymodels.bottleneck`, and hooks that see and change it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from toymodels import (
    Bottleneck,
    Embedding,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    Sampler,
    SoLU,
    forward,
)
from toymodels.hosts.module import HookedLayer
from toymodels.initialisation import initialise
from toymodels.surgery import FrozenMask, FrozenNorm, KeepLargest, norm_statistics, operate

N, M, SAMPLES = 8, 6, 37
ARCHITECTURES = {
    "tied": Bottleneck(M),
    "untied": Bottleneck(M, GeLU(), output=Linear(), tied=False, hidden_bias=True),
    "norm": Bottleneck(M, SoLU(), LayerNorm(affine=False), tied=False),
    "affine norm": Bottleneck(M, SoLU(), LayerNorm(), hidden_bias=True),
    "eps 0": Bottleneck(M, ReLU(), LayerNorm(0.0)),
    "decoder": Bottleneck(M, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(4)),
    "trained embedding": Bottleneck(M, GeLU(), tied=False, embedding=Embedding(4, trained=True)),
    "gated": Bottleneck(M, Linear(), LayerNorm(), tied=False, gated=True, hidden_bias=True),
    "gated decoder": Bottleneck(M, ReLU(), tied=False, gated=True, embedding=Embedding(4)),
    "routed": Bottleneck(M, GeLU(), tied=False, experts=2),
    "gated and routed": Bottleneck(M, GeLU(), tied=False, experts=3, gated=True),
    "top k": Bottleneck(M, SoLU(), LayerNorm(), top_k=2),
    "blocks": Bottleneck(M, SoLU(), LayerNorm(), tied=False, blocks=2),
}
NORMED = [name for name, b in ARCHITECTURES.items() if b.layer_norm is not None]


def one_model(bottleneck: Bottleneck, dtype: torch.dtype = torch.float32) -> Parameters:
    """Parameters of which nothing is 0 or 1: all moved from where training starts."""
    start = initialise([bottleneck], Sampler([Features(N, 0.3)], [3]), dtype)
    noise = torch.Generator().manual_seed(1)
    kept = {} if start.ln_eps is None else {"ln_eps": start.ln_eps}
    moved = {
        name: each + 0.3 * torch.randn(each.shape, generator=noise, dtype=dtype)
        for name, each in start.present().items()
        if name not in kept
    }
    return Parameters(**moved, **kept)


def data(samples: int = SAMPLES) -> Tensor:
    """x [model = 1, feature, batch], empty inputs among it."""
    return Sampler([Features(N, 0.2, signed=True)], [5]).evaluation(0, samples)


def case(name: str, dtype: torch.dtype = torch.float32) -> tuple[Bottleneck, Parameters, HookedLayer]:
    bottleneck = ARCHITECTURES[name]
    parameters = one_model(bottleneck, dtype)
    return bottleneck, parameters, HookedLayer(bottleneck, parameters)


@contextmanager
def hooked(layer: nn.Module, **hooks: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Forward hooks by name, ``__`` standing for the dot, each given what passes."""
    handles = [
        layer.get_submodule(name.replace("__", ".")).register_forward_hook(lambda _, __, passing, f=f: f(passing))
        for name, f in hooks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seen(layer: HookedLayer, x: Tensor) -> dict[str, Tensor]:
    """What passes each place, by its name."""
    found: dict[str, Tensor] = {}
    with hooked(layer, **{name.replace(".", "__"): _keep(found, name) for name in layer.hook_names}):
        layer(x)
    return found


def _keep(found: dict[str, Tensor], name: str) -> Callable[[Tensor], None]:
    return lambda passing: found.update({name: passing.detach().clone()})


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_every_tap_is_that_of_forward_bit_for_bit(name: str, samples: int) -> None:
    bottleneck, parameters, layer = case(name)
    x = data(samples)
    taps, found = forward(bottleneck, parameters, x), seen(layer, x[0].T)
    for tap in ("pre", "mid", "post", "readout", "out"):
        assert torch.equal(found[f"hook_{tap}"], getattr(taps, tap)[0].T), tap
    assert torch.equal(layer(x[0].T), taps.out[0].T)
    assert torch.equal(found["hook_x"], x[0].T)
    if parameters.E is not None:
        assert torch.equal(found["hook_embedded"], (parameters.E @ x)[0].T)
    if bottleneck.layer_norm is not None:
        mean, scale = norm_statistics(bottleneck, parameters, taps.mid)
        assert torch.equal(found["ln.hook_rstd"], scale[0].T)
        torch.testing.assert_close(found["ln.hook_centred"], (taps.mid - mean)[0].T)


def test_places_for_hooks_are_those_of_the_architecture() -> None:
    plain = ("hook_x", "hook_pre", "hook_mid", "hook_post", "hook_readout", "hook_out")
    assert case("tied")[2].hook_names == plain
    norm = ("ln.hook_centred", "ln.hook_rstd", "ln.hook_normalized")
    assert case("gated")[2].hook_names == (*plain[:2], "hook_gain", "hook_mid", *norm, *plain[3:])
    assert case("decoder")[2].hook_names == ("hook_x", "hook_embedded", *plain[1:3], *norm, *plain[3:])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_hook_that_returns_a_value_changes_what_follows_and_nothing_before(name: str) -> None:
    layer, x = case(name)[2], data()[0].T
    before = seen(layer, x)
    order = layer.hook_names
    for place, changed in enumerate(order):
        with hooked(layer, **{changed.replace(".", "__"): lambda passing: passing * 1.5 + 0.1 * passing.abs().sqrt()}):
            after = seen(layer, x)
        moved = {each for each in order if not torch.equal(before[each], after[each])}
        assert moved, changed
        # What a hook returns is seen by the hooks of its own place that come after it, as `seen` comes.
        assert moved <= set(order[place:]), (changed, moved)
        assert changed in moved
        if changed != "ln.hook_centred":  # LayerNorm undoes a change of all neurons by one factor alone
            assert "hook_out" in moved, changed


@pytest.mark.parametrize("name", NORMED)
def test_freezing_the_scale_by_a_hook_is_freezing_it_by_hand_and_by_surgery(name: str) -> None:
    bottleneck, parameters, layer = case(name)
    x = data()
    taps = forward(bottleneck, parameters, x)
    mean, scale = norm_statistics(bottleneck, parameters, taps.mid)
    constant = float(scale.mean())
    frozen = operate(bottleneck, parameters, x, FrozenNorm(constant)).out
    with hooked(layer, ln__hook_rstd=lambda rstd: torch.full_like(rstd, constant)):
        got = layer(x[0].T)
    assert torch.equal(got, frozen[0].T)
    # By hand, in float64 and from the weights alone.
    post = (taps.mid - mean).double() * constant
    if parameters.ln_gain is not None and parameters.ln_bias is not None:
        post = post * parameters.ln_gain[:, :, None] + parameters.ln_bias[:, :, None]
    readout = parameters.decoder.double() @ post
    readout = readout if parameters.b_out is None else readout + parameters.b_out[:, :, None]
    torch.testing.assert_close(got.double(), bottleneck.output(readout, dim=1)[0].T, rtol=1e-5, atol=1e-6)
    # At the very example it was taken from, freezing changes nothing.
    with hooked(layer, ln__hook_rstd=lambda rstd: scale[0].T):
        assert torch.equal(layer(x[0].T), taps.out[0].T)


def test_other_surgery_by_hooks() -> None:
    bottleneck, parameters, layer = case("untied")
    x = data()
    kept = operate(bottleneck, parameters, x, KeepLargest(2)).out
    with hooked(layer, hook_mid=lambda mid: torch.where(mid.abs() >= mid.abs().topk(2).values[:, -1:], mid, 0.0)):
        assert torch.equal(layer(x[0].T), kept[0].T)
    z0 = forward(bottleneck, parameters, x).pre[:, :, :1]
    frozen = operate(bottleneck, parameters, x, FrozenMask(z0)).out
    mask = (forward(bottleneck, parameters, x).mid[:, :, :1] / z0)[0].T
    pre = seen(layer, x[0].T)["hook_pre"]
    with hooked(layer, hook_mid=lambda mid: pre * mask):
        torch.testing.assert_close(layer(x[0].T), frozen[0].T)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_forward(name: str) -> None:
    bottleneck, parameters, layer = case(name, torch.float64)
    x = data().double().requires_grad_()
    rows = x.detach()[0].T.clone().requires_grad_()
    leaves = {each: tensor.clone().requires_grad_() for each, tensor in parameters.present().items()}
    forward(bottleneck, Parameters(**leaves), x).out.square().sum().backward()
    layer(rows).square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(rows.grad, x.grad[0].T)
    assert x.grad.any()
    named = dict(layer.named_parameters())
    assert named.keys() == parameters.present().keys() - bottleneck.fixed.keys()
    for each, tensor in named.items():
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, leaves[each].grad[0])  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.parametrize("name", ["decoder", "gated and routed", "tied"])
def test_a_state_dict_makes_another_layer_the_same(name: str) -> None:
    bottleneck, parameters, layer = case(name)
    other = HookedLayer(bottleneck, Parameters(**{k: torch.rand_like(v) for k, v in parameters.present().items()}))
    x = data()[0].T
    assert not torch.equal(other(x), layer(x))
    assert set(layer.state_dict()) == set(parameters.present())
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert all(torch.equal(v, parameters.present()[k]) for k, v in other.parameters_of_layer.present().items())


def test_training_the_module_leaves_the_model_it_was_made_of() -> None:
    _, parameters, layer = case("decoder")
    kept = {name: each.clone() for name, each in parameters.present().items()}
    optimizer = torch.optim.SGD(layer.parameters(), 1e-6)
    first = layer(data()[0].T).square().sum()
    first.backward()
    optimizer.step()
    assert layer(data()[0].T).square().sum() < first
    assert all(torch.equal(each, kept[name]) for name, each in parameters.present().items())


def test_other_precisions_and_what_is_refused() -> None:
    bottleneck, parameters, layer = case("affine norm")
    x = data()[0].T
    exact = forward(bottleneck, parameters.to("cpu", torch.float64), data().double()).out[0].T
    assert torch.equal(layer.double()(x), exact)
    for wrong in (x[:, 1:], x[0], x[None]):
        with pytest.raises(ValueError, match=r"x: expected shape \[batch, 8\], got \["):
            layer(wrong)
    with pytest.raises(ValueError, match="expected those of one model, got 2"):
        HookedLayer(bottleneck, Parameters(**{k: torch.cat([v, v]) for k, v in parameters.present().items()}))
    is_normed = bottleneck.layer_norm is not None
    assert f"SoLU{' and LayerNorm' * is_normed}, 8 features, 6 neurons" in repr(layer)


def test_a_changed_layer_is_a_module_too() -> None:
    """A tied read-out that surgery has spelled out is a parameter of its own."""
    bottleneck, parameters, _ = case("tied")
    spelled = dataclasses.replace(parameters, W_out=2 * parameters.decoder)
    layer = HookedLayer(bottleneck, spelled)
    assert torch.equal(layer(data()[0].T), forward(bottleneck, spelled, data()).out[0].T)
