"""The layer as a TransformerLens module: what ``HookedRootModule`` gives, of the same numbers as the plain module.

Run where transformer_lens is installed, which the program itself does without.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from tests.hosts.test_module import ARCHITECTURES, NORMED, case, data, seen
from tests.hosts.test_streaming import host
from toymodels import forward
from toymodels.hosts.hooked import TransformerLensLayer
from toymodels.surgery import FrozenNorm, norm_statistics, operate


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_run_with_cache_has_every_tap_bit_for_bit(name: str) -> None:
    bottleneck, parameters, plain = case(name)
    x = data()
    layer = TransformerLensLayer(bottleneck, parameters)
    assert isinstance(layer, HookedRootModule)
    out, cache = layer.run_with_cache(x[0].T)
    taps = forward(bottleneck, parameters, x)
    assert torch.equal(out, taps.out[0].T)
    for tap in ("pre", "mid", "post", "readout", "out"):
        assert torch.equal(cache[f"hook_{tap}"], getattr(taps, tap)[0].T), tap
    found = seen(plain, x[0].T)
    assert tuple(cache.keys()) == layer.hook_names == plain.hook_names
    assert set(layer.hook_dict) == set(layer.hook_names)
    assert all(torch.equal(cache[each], found[each]) for each in found)
    assert all(isinstance(layer.get_submodule(each), HookPoint) for each in layer.hook_names)


@pytest.mark.parametrize("name", NORMED)
def test_freezing_the_scale_by_run_with_hooks_is_freezing_it_by_surgery(name: str) -> None:
    bottleneck, parameters, _ = case(name)
    x = data()
    layer = TransformerLensLayer(bottleneck, parameters)
    constant = float(norm_statistics(bottleneck, parameters, forward(bottleneck, parameters, x).mid)[1].mean())
    frozen = layer.run_with_hooks(
        x[0].T, fwd_hooks=[("ln.hook_rstd", lambda rstd, hook: torch.full_like(rstd, constant))]
    )
    assert torch.equal(frozen, operate(bottleneck, parameters, x, FrozenNorm(constant)).out[0].T)
    assert torch.equal(layer(x[0].T), forward(bottleneck, parameters, x).out[0].T)  # and no hook stays


def test_a_host_gives_one_where_transformer_lens_is_there() -> None:
    of = host("decoder")
    layer, plain = of.as_module(), of.as_module(transformer_lens=False)
    assert isinstance(layer, TransformerLensLayer)
    assert not isinstance(plain, HookedRootModule)
    x = of.sample(100).x
    out, cache = layer.run_with_cache(x)
    assert torch.equal(out, plain(x))
    torch.testing.assert_close(cache["hook_post"], of.sample(100).activations)


def test_names_are_listed_as_transformer_lens_lists_them() -> None:
    layer = TransformerLensLayer(*case("decoder")[:2])
    assert layer.ln.hook_rstd.name == "ln.hook_rstd"
    layer.add_hook("hook_mid", lambda mid, hook: None)
    assert list(layer.list_hooks()) == ["hook_mid"]
    layer.reset_hooks()
    assert layer.list_hooks() == {}


def test_gradients_are_cached() -> None:
    bottleneck, parameters, plain = case("affine norm")
    layer, x = TransformerLensLayer(bottleneck, parameters), data()[0].T
    kept: dict[str, torch.Tensor] = {}
    layer.add_hook("hook_mid", lambda grad, hook: kept.update(mid=grad.clone()), dir="bwd")
    layer(x).square().sum().backward()
    mid = torch.zeros_like(kept["mid"])

    def onto(module: torch.nn.Module, given: object, passing: torch.Tensor) -> torch.Tensor:
        return passing + offset

    offset = mid.clone().requires_grad_()
    handle = plain.hook_mid.register_forward_hook(onto)
    plain(x).square().sum().backward()
    handle.remove()
    assert offset.grad is not None
    torch.testing.assert_close(kept["mid"], offset.grad)


def test_it_can_be_copied_and_pickled_and_loaded() -> None:
    layer, x = TransformerLensLayer(*case("gated and routed")[:2]), data()[0].T
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    layer.load_state_dict(case("gated and routed")[2].state_dict())
