"""Filling: x of `stream`, written into memory; a program has some features of a model on some samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from toymodels.kernels.on_gpu import stream

ROWS, TILE = 16, 256
"""features and samples of a program"""


class Block(NamedTuple):
    """What the kernel is compiled for."""

    n: int
    """features of a model"""
    rows: int
    """features of a program"""
    tile: int
    """samples of a program"""
    grouped: bool
    binary: bool
    signed: bool


def block_of(n: int, grouped: bool, binary: bool, signed: bool) -> Block:
    """What is drawn at once of models of n features."""
    return Block(n, min(ROWS, triton.next_power_of_2(n)), TILE, grouped, binary, signed)


def launch(
    block: Block, source: Sequence[Tensor], step: Tensor, out: Tensor, first_sample: int, data: int, firing: int
) -> None:
    """Fill ``out`` [model, feature, sample] with the samples from ``first_sample`` on, on the current device.

    ``source`` has seeds [model]; low, high and divisor [model, feature]; the group of each feature [feature].
    """
    models, _, samples = out.shape
    programs = models * triton.cdiv(block.n, block.rows) * triton.cdiv(samples, block.tile)
    kernel: Any = fill_x
    of_block = {"block": block, "enable_fp_fusion": True}  # changes no bit, and Triton asks for an answer
    kernel[(programs,)](*source, step, out, first_sample // 4, samples, data, firing, **of_block)


@triton.jit(do_not_specialize=["first_block", "samples", "data", "firing"])
def fill_x(seeds, low, high, divisor, member, step, out, first_block, samples, data, firing, block: tl.constexpr):
    """x of the domains ``data`` and ``firing``, float32 [model, feature, sample], into ``out``.

    ``step`` is an int64 in memory: what a CUDA graph replays changes no argument.
    """
    across, down = tl.cdiv(samples, block.tile), tl.cdiv(block.n, block.rows)
    program = tl.program_id(0)
    model = (program // (across * down)).to(tl.int64)
    tile = program % across
    feature = program // across % down * block.rows + tl.arange(0, block.rows)
    there = feature < block.n
    drawn = stream.drawn_from(low, high, divisor, member, model, feature, there, block)
    first, now = first_block + tile * (block.tile // 4), tl.load(step).to(tl.uint32)
    x = stream.draw(tl.load(seeds + model), drawn, first, now, data, firing, block)
    sample = tile * block.tile + tl.arange(0, block.tile)
    at = (model * block.n + feature[:, None]) * samples + sample[None, :]
    tl.store(out + at, x, mask=there[:, None] & (sample < samples)[None, :])
