"""A kernel that writes down x as the kernels of the gpu engine draw it. Interpreted, or compiled on a GPU."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels import tile
from toymodels.engines.gpu.kernels.values import shaped
from toymodels.kernels.on_gpu import stream

jit: Any = triton.jit  # what it makes of a function takes tensors where the function has pointers


@jit
def fill_x(seeds, low, high, divisor, member, out, step, form: tl.constexpr):
    model = tl.program_id(0)
    seed, features, _, _ = tile.source_of(seeds, low, high, divisor, member, seeds, model, form)
    x = shaped(stream.draw(seed, features, 0, step, tile.DATA, tile.FIRING, form), form)
    feature, sample = tl.arange(0, form.N), tl.arange(0, form.tile)
    tl.store(out + (model * form.N + feature[:, None]) * form.tile + sample[None, :], x)
