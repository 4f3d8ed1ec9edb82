"""Drawing: rows of x from the counter-based stream of `toymodels.random`, which has the equations.

Lane ``LANES / 4 * k + b`` of a tile holds sample 4 b + k: the four words of one Philox block go to four registers, and
nothing is shuffled. A sum over samples does not see the order; `in_order` gives it where it matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.compiled import inner, kernel
from toymodels.kernels.elementary import LARGEST_BELOW_ONE, erfinv, log1p
from toymodels.kernels.vector import (
    LANES,
    absolute,
    at,
    bits,
    consecutive,
    in_order,
    load,
    low_product,
    pointer,
    quotient,
    shifted,
    splat,
    splat_blocks,
    splat_words,
    store,
    where,
    words_of,
)

DATA, FIRING, EVALUATION, EVALUATION_FIRING = 0, 1, 3, 4
"""Domains of the stream, as in `toymodels.random.Domain`."""
UNIFORM, BINARY, FOLDED_NORMAL, EXPONENTIAL = range(4)
LOW_HALF = np.uint64(0xFFFFFFFF)


def whole_tiles(samples: int) -> int:
    """``samples``, rounded up to whole tiles."""
    return -(-samples // LANES) * LANES


class Source(NamedTuple):
    """What x of some models is drawn from. Feature i of a model is active iff low <= word <= high, the word its own, or
    its group's where there are groups; then r = own word / divisor."""

    seeds: np.ndarray
    """uint64 [model]"""
    low: np.ndarray
    """uint32 [model, feature]"""
    high: np.ndarray
    """uint32 [model, feature]"""
    divisor: np.ndarray
    """float64 [model, feature]"""
    inverse: np.ndarray
    """float64 [model, feature], 1 / divisor"""
    member: np.ndarray
    """int64 [feature], the feature's group; empty where every feature decides for itself"""
    values: int
    signed: bool


@inner
def philox(feature, first_block, step, domain, seed):
    """Philox-4x32-10 of ``LANES / 4`` consecutive blocks: the words of one feature over a tile."""
    key_0, key_1 = seed & LOW_HALF, seed >> np.uint64(32)
    c0, c1 = splat_blocks(np.uint64(feature)), consecutive(np.uint64(first_block))
    c2, c3 = splat_blocks(np.uint64(step)), splat_blocks(np.uint64(domain))
    for _ in range(10):
        p0 = low_product(c0, np.uint64(0xD2511F53))
        p1 = low_product(c2, np.uint64(0xCD9E8D57))
        c0, c1 = (p1 >> np.uint64(32)) ^ c1 ^ splat_blocks(key_0), p1
        c2, c3 = (p0 >> np.uint64(32)) ^ c3 ^ splat_blocks(key_1), p0
        key_0 = (key_0 + np.uint64(0x9E3779B9)) & LOW_HALF
        key_1 = (key_1 + np.uint64(0xBB67AE85)) & LOW_HALF
    return words_of(c0, c1, c2, c3)


@inner
def _shaped(v, values):
    """The value law's function of v, odd and 0 at 0; NaN for a law that is not listed above."""
    if values == FOLDED_NORMAL:
        return np.float32(1.4142135623730951) * erfinv(v)
    if values == EXPONENTIAL:
        size = absolute(v)
        size = where(size > LARGEST_BELOW_ONE, LARGEST_BELOW_ONE, size)
        value = log1p(np.float32(0) - size)
        return where(v > np.float32(0), np.float32(0) - value, value)
    return splat(np.float32(np.nan))


class Draw(NamedTuple):
    """One model's part of a `Source`, as pointers."""

    seed: int
    low: int
    high: int
    divisor: int
    inverse: int
    member: int
    grouped: bool
    values: int
    signed: bool


@inner
def draw_of(source, model):
    """What one model draws from."""
    first = model * source.low.shape[1]
    return Draw(
        source.seeds[model],
        shifted(pointer(source.low), first),
        shifted(pointer(source.high), first),
        shifted(pointer(source.divisor), first),
        shifted(pointer(source.inverse), first),
        pointer(source.member),
        len(source.member) > 0,
        source.values,
        source.signed,
    )


@inner
def draw_tile(draw, n, first_sample, step, domain, group_domain, x, group):
    """Rows x[feature] of the tile that starts at ``first_sample``; ``group`` is room for one row of words.

    A group's words are drawn once for all its features that are neighbours, as they mostly are.
    """
    block, drawn = first_sample // 4, -1
    for i in range(n):
        words = philox(i, block, step, domain, draw.seed)
        deciding = words
        if draw.grouped:
            if at(draw.member, i) != drawn:
                drawn = at(draw.member, i)
                store(group, 0, bits(philox(drawn, block, step, group_domain, draw.seed)))
            deciding = bits(load(group, 0))
        active = (deciding >= splat_words(at(draw.low, i))) & (deciding <= splat_words(at(draw.high, i)))
        if draw.values == BINARY:
            value = splat(np.float32(1))
            if draw.signed:
                middle = np.uint32(np.ceil(at(draw.divisor, i) / 2))  # u / T >= 1 / 2, in whole numbers
                value = where(words >= splat_words(middle), value, np.float32(-1))
        else:
            value = quotient(words, at(draw.divisor, i), at(draw.inverse, i), draw.signed)
        store(x, i * LANES, where(active, value, np.float32(0)))
    if draw.values != UNIFORM and draw.values != BINARY:  # of these two v itself is the value
        for i in range(n):
            store(x, i * LANES, _shaped(load(x, i * LANES), draw.values))


@kernel
def fill_words(out, seeds, first_sample, step, domain):
    """``out[model, feature, sample]``, whole tiles of samples, in order; see `toymodels.random.words`."""
    flat = pointer(out)
    n_models, n_features, n_samples = out.shape
    for model in range(n_models):
        for feature in range(n_features):
            for tile in range(0, n_samples, LANES):
                words = philox(feature, (first_sample + tile) // 4, step, domain, seeds[model])
                store(flat, (model * n_features + feature) * n_samples + tile, in_order(words))


@kernel
def fill_x(out, source, first_sample, step, domain, group_domain, room):
    """``out[model, feature, sample]`` float32, whole tiles of samples, in order; see `toymodels.features`.

    ``room`` holds one row more than there are features.
    """
    flat = pointer(out)
    n_models, n_features, n_samples = out.shape
    x, group = pointer(room), shifted(pointer(room), n_features * LANES)
    for model in range(n_models):
        for tile in range(0, n_samples, LANES):
            draw_tile(draw_of(source, model), n_features, first_sample + tile, step, domain, group_domain, x, group)
            for feature in range(n_features):
                row = in_order(load(x, feature * LANES))
                store(flat, (model * n_features + feature) * n_samples + tile, row)
