# pyright: reportMissingImports=false
"""JAX: a scan over steps, mapped over models, compiled: jit(vmap(scan)), with optax's Adam."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from torch import Tensor

from benchmarks.workload import Workload

HIDDEN = {
    "linear": lambda z: z,
    "relu": jax.nn.relu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "solu": lambda z: z * jax.nn.softmax(z, -1),
}
OPTIMIZER = optax.adam(1e-3)


def _loss(parameters: dict[str, Any], E: Any, key: Any, w: Workload, density: Any) -> Any:
    if w.embedding:
        x = (jax.random.uniform(key, (w.batch, w.n)) <= density).astype(jnp.float32)
        pre = (x @ E) @ parameters["W_in"] + parameters["b_in"]
    else:
        keys = jax.random.split(key)
        value = jax.random.uniform(keys[0], (w.batch, w.n))
        if w.absolute:
            value = 2 * value - 1
        x = jnp.where(jax.random.uniform(keys[1], (w.batch, w.n)) <= density, value, 0.0)
        pre = x @ parameters["W_in"]
    hidden = HIDDEN[w.activation](pre)
    if w.layer_norm:
        centred = hidden - hidden.mean(-1, keepdims=True)
        hidden = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        hidden = hidden * parameters["gain"] + parameters["bias"]
    W_out = parameters["W_in"] if w.tied else parameters["W_out"]
    out = hidden @ W_out.T + parameters["b_out"]
    if w.cross_entropy:
        return optax.sigmoid_binary_cross_entropy(out, x).sum(1).mean()
    if not w.embedding:
        out = jax.nn.relu(out)
    return (((jnp.abs(x) if w.absolute else x) - out) ** 2).sum(1).mean()


@partial(jax.jit, static_argnums=(2, 4))
@partial(jax.vmap, in_axes=(0, 0, None, None, None))
def _train(carry: Any, E: Any, w: Workload, density: Any, steps: int) -> Any:
    def step(carry: Any, _: None) -> Any:
        parameters, state, key = carry
        key, own = jax.random.split(key)
        loss, gradient = jax.value_and_grad(_loss)(parameters, E, own, w, density)
        updates, state = OPTIMIZER.update(gradient, state)
        return (optax.apply_updates(parameters, updates), state, key), loss

    carry, losses = jax.lax.scan(step, carry, None, steps)
    return carry, losses[-1]


class Scan:
    """See the module."""

    name = "JAX"

    def __init__(self, workload: Workload, density: float) -> None:
        w = self.workload = workload
        self.density = density
        keys = jax.random.split(jax.random.key(0), w.models)
        self.E = None
        W = jax.random.normal(jax.random.key(1), (w.models, w.n, w.m)) / w.m**0.5
        parameters = {"W_in": W, "b_out": jnp.zeros((w.models, w.n))}
        parameters |= {} if w.tied else {"W_out": W}
        if w.embedding:
            E = jax.random.normal(jax.random.key(2), (w.models, w.n, w.embedding))
            self.E = E / jnp.linalg.norm(E, axis=-1, keepdims=True)
            W_in = jax.random.normal(jax.random.key(3), (w.models, w.embedding, w.m)) / w.embedding**0.5
            parameters |= {"W_in": W_in, "b_in": jnp.zeros((w.models, w.m))}
        if w.layer_norm:
            parameters |= {"gain": jnp.ones((w.models, w.m)), "bias": jnp.zeros((w.models, w.m))}
        self.carry = (parameters, jax.vmap(OPTIMIZER.init)(parameters), keys)

    def run(self, steps: int) -> Tensor:
        """Train on; the losses of the last step. A new number of steps is compiled."""
        self.carry, losses = _train(self.carry, self.E, self.workload, self.density, steps)
        return torch.tensor(jax.device_get(losses))

    def close(self) -> None:
        """Forget what was compiled."""
        jax.clear_caches()
