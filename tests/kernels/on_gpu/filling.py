"""Kernels that write down words of the stream. Interpreted, or compiled on a GPU."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from toymodels.kernels.on_gpu import stream

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
def fill_words(seeds, out, first_block, step, domain, block: tl.constexpr):
    model = tl.program_id(0)
    feature, sample = tl.arange(0, block.rows), tl.arange(0, block.tile)
    drawn = stream.words(tl.load(seeds + model), feature, first_block, step, domain, block)
    at = (model * block.n + feature[:, None]) * block.tile + sample[None, :]
    tl.store(out + at, drawn.to(tl.int64), mask=(feature < block.n)[:, None])
