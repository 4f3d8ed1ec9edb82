"""Workspace: the memory that one thread writes on while it trains one model after the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels import products
from toymodels.kernels.compiled import inner
from toymodels.kernels.products import FEW
from toymodels.kernels.shape import Shape
from toymodels.kernels.vector import LANES, NATIVE, pointer, splat_native, store


class Work(NamedTuple):
    """What one thread writes on: rows of the tile, partial sums, and one gradient."""

    x: np.ndarray
    embedded: np.ndarray
    """E x, where there is an embedding"""
    slope_in: np.ndarray
    """dL/d(E x), where the embedding is trained"""
    r: np.ndarray
    """the read-out, then dL/dreadout"""
    z: np.ndarray
    mid: np.ndarray
    slope: np.ndarray
    unit: np.ndarray
    """LayerNorm's result before gain and bias"""
    scale: np.ndarray
    post: np.ndarray
    g: np.ndarray
    """the gradient on its way back through the hidden layer"""
    turned: np.ndarray
    pairs: np.ndarray
    """partial sums of weight gradients, by pair of rows"""
    sums: np.ndarray
    """partial sums of the other gradients: b_out, b_in, gain, bias"""
    valid: np.ndarray
    """1 for samples of the batch, a row for whole tiles and one for the last"""
    loss: np.ndarray
    group: np.ndarray
    input_lists: np.ndarray
    """of the rows of x that are not 0; see `products.Rows`"""
    input_lanes: np.ndarray
    embedded_lists: np.ndarray
    """of those of E x"""
    embedded_lanes: np.ndarray
    error_lists: np.ndarray
    """of those of dL/dreadout"""
    error_lanes: np.ndarray
    part: np.ndarray
    gradient: np.ndarray
    update: np.ndarray


def workspace(shape: Shape) -> Work:
    """Room for one thread, all 0, aligned to cache lines."""
    n, outputs = products.padded(shape.n), products.padded(shape.outputs)
    m, inputs = (products.padded(max(pitch, NATIVE)) for pitch in (shape.pitch, shape.input_pitch))
    embedded = inputs if shape.input_pitch else 0
    turned = max(0 if shape.m <= FEW else m, embedded)
    rows = {"x": n, "r": outputs, "scale": 1, "loss": 1, "group": 1, "valid": 2, "turned": turned}
    rows |= {"embedded": embedded, "slope_in": embedded if shape.E >= 0 else 0}
    rows |= dict.fromkeys(("z", "mid", "slope", "unit", "post", "g"), m)
    sizes = {name: count * LANES for name, count in rows.items()}
    sizes["pairs"] = shape.pairs
    sizes["sums"] = NATIVE * (shape.outputs + 3 * shape.m)
    sizes |= dict.fromkeys(("part", "gradient", "update"), shape.size)
    most = max(n, outputs, m, inputs)  # evaluation sorts hidden rows too
    which = ("input", "embedded", "error")
    lists = {f"{each}_lists": np.zeros(2 * most, np.int64) for each in which}
    lanes = {f"{each}_lanes": np.zeros(most, np.uint64) for each in which}
    work = Work(**{name: aligned(size) for name, size in sizes.items()}, **lists, **lanes)
    lane = np.arange(LANES)
    sample = 4 * (lane % (LANES // 4)) + lane // (LANES // 4)
    work.valid[:LANES] = 1
    work.valid[LANES:] = sample < (shape.batch - 1) % LANES + 1
    return work


def aligned(size: int) -> np.ndarray:
    """Zeros, float32, that begin on a cache line."""
    room = np.zeros(size + 16, np.float32)
    begin = -(room.ctypes.data // 4) % 16
    return room[begin : begin + size]


class Room(NamedTuple):
    """A `Work` as pointers."""

    x: int
    embedded: int
    slope_in: int
    r: int
    z: int
    mid: int
    slope: int
    unit: int
    scale: int
    post: int
    g: int
    turned: int
    pairs: int
    sums: int
    valid: int
    loss: int
    group: int
    input_lists: int
    input_lanes: int
    embedded_lists: int
    embedded_lanes: int
    error_lists: int
    error_lanes: int
    part: int
    gradient: int
    update: int


@inner
def room_of(work):
    """The pointers to a `Work`."""
    return Room(
        pointer(work.x),
        pointer(work.embedded),
        pointer(work.slope_in),
        pointer(work.r),
        pointer(work.z),
        pointer(work.mid),
        pointer(work.slope),
        pointer(work.unit),
        pointer(work.scale),
        pointer(work.post),
        pointer(work.g),
        pointer(work.turned),
        pointer(work.pairs),
        pointer(work.sums),
        pointer(work.valid),
        pointer(work.loss),
        pointer(work.group),
        pointer(work.input_lists),
        pointer(work.input_lanes),
        pointer(work.embedded_lists),
        pointer(work.embedded_lanes),
        pointer(work.error_lists),
        pointer(work.error_lanes),
        pointer(work.part),
        pointer(work.gradient),
        pointer(work.update),
    )


@inner
def clear(values, size):
    """``size`` zeros, a multiple of `NATIVE`."""
    for p in range(0, size, NATIVE):
        store(values, p, splat_native(np.float32(0)))
