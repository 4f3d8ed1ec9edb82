"""Kernels that write down what others only use: words of the stream, and x. Interpreted, or compiled on a GPU."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels import stream, tile

jit: Any = triton.jit  # what it makes of a function takes tensors where the function has pointers


@jit
def philox(counters, seed, out):
    word = tl.arange(0, 1)
    first, second = tl.load(counters + word), tl.load(counters + 1 + word)
    third, fourth = tl.load(counters + 2 + word), tl.load(counters + 3 + word)
    a, b, c, d = tl.philox(
        tl.load(seed),
        first.to(tl.uint32, bitcast=True),
        second.to(tl.uint32, bitcast=True),
        third.to(tl.uint32, bitcast=True),
        fourth.to(tl.uint32, bitcast=True),
    )
    tl.store(out + word, a.to(tl.int64))
    tl.store(out + 1 + word, b.to(tl.int64))
    tl.store(out + 2 + word, c.to(tl.int64))
    tl.store(out + 3 + word, d.to(tl.int64))


@jit
def fill_words(seeds, out, first_block, step, domain, form: tl.constexpr):
    model = tl.program_id(0)
    feature, sample = tl.arange(0, form.N), tl.arange(0, form.tile)
    drawn = stream.words(tl.load(seeds + model), feature, first_block, step, domain, form)
    at = (model * form.n + feature[:, None]) * form.tile + sample[None, :]
    tl.store(out + at, drawn.to(tl.int64), mask=(feature < form.n)[:, None])


@jit
def fill_x(seeds, low, high, divisor, member, out, step, form: tl.constexpr):
    model = tl.program_id(0)
    seed, features, _, _ = tile.source_of(seeds, low, high, divisor, member, seeds, model, form)
    x = stream.draw(seed, features, 0, step, tile.DATA, tile.FIRING, form)
    feature, sample = tl.arange(0, form.N), tl.arange(0, form.tile)
    tl.store(out + (model * form.N + feature[:, None]) * form.tile + sample[None, :], x)
