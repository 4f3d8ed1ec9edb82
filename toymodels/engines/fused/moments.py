"""Moments by the fused kernels: the forward pass of the engine, its sums taken on the way.

What `toymodels.engines.autograd.moments` computes, on the same data, for what the fused engine can run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from threading import Event

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.embedding import Embedding
from toymodels.engines.fused.batch import own_of, source_of
from toymodels.engines.fused.layout import pack, shape_of
from toymodels.engines.fused.preparing import prepare
from toymodels.engines.moment_table import TABLE, Row
from toymodels.kernels import moments as kernels
from toymodels.kernels.workspace import workspace
from toymodels.training.experiment import Experiment, sampler

TASKS_A_THREAD = 4
SAMPLES_A_CALL = 64 * kernels.CHUNK
"""Of a small model, under a tenth of a second: an interruption is heard between calls."""


def sums(experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]) -> list[dict[str, Tensor]]:
    """Sums over the samples between two edges, for each fold; see `Engine.moments`."""
    samples, folds = edges[-1], list(pairwise(edges))
    shape = shape_of(as_given(experiments[0], parameters))._replace(batch=samples)
    source, theta, size = source_of(sampler(experiments)), pack(shape, parameters), kernels.places(shape)
    own = own_of(experiments, shape, parameters)
    found = np.zeros((len(folds), len(theta), size.by_lane + size.products))
    threads = torch.get_num_threads()
    chunks = max(1, int(SAMPLES_A_CALL * 1024 // (shape.outputs * shape.m + 1024)) // kernels.CHUNK)

    stop = Event()

    def collect(first: int, last: int) -> None:
        work, sheet = workspace(shape), kernels.sheet(shape)
        for model, (of_fold, (start, edge)) in product(range(first, last), zip(found, folds, strict=True)):
            for begin in range(start, edge, chunks * kernels.CHUNK):
                if stop.is_set():
                    return
                end = min(edge, begin + chunks * kernels.CHUNK)
                kernels.collect(shape, source, theta, own, samples, work, sheet, of_fold, model, model + 1, begin, end)

    at_once = -(-len(theta) // (TASKS_A_THREAD * threads))
    spans = [(first, min(len(theta), first + at_once)) for first in range(0, len(theta), at_once)]
    prepare()
    with ThreadPoolExecutor(threads) as pool:
        try:
            list(pool.map(lambda span: collect(*span), spans))
        finally:
            stop.set()  # an interruption ends here, and the threads at their next call
    return [_named(of_fold, size) for of_fold in found]


def as_given(experiment: Experiment, parameters: Parameters) -> Experiment:
    """The experiment with the architecture that the parameters have, which someone may have built by hand."""
    b = experiment.bottleneck
    norm = b.layer_norm and dataclasses.replace(b.layer_norm, affine=parameters.ln_gain is not None)
    E = parameters.E
    as_given = dataclasses.replace(
        b,
        layer_norm=norm,
        tied=parameters.W_out is None,
        hidden_bias=parameters.b_in is not None,
        output_bias=parameters.b_out is not None,
        embedding=None if E is None else Embedding(E.shape[1]),  # not trained here, so not in theta
    )
    return dataclasses.replace(experiment, bottleneck=as_given)


def _named(found: np.ndarray, size: kernels.Places) -> dict[str, Tensor]:
    """The kernel's ``found [model, place]`` as sums by the keys of the table of moments."""
    named, models, place = {}, len(found), 0
    for row in TABLE:
        rows, columns = _extent(row, size)
        block = found[:, place : place + rows * columns].reshape(models, rows, columns)
        place += rows * columns
        if row.axes == ("hidden", "target"):
            block = block[:, : size.outputs, : size.m].swapaxes(1, 2)
        elif row.axes == ("hidden", "hidden"):
            block = block[:, : size.m, : size.m]
        else:
            block = block.reshape(models, *(columns for _ in row.axes))
        named[row.key] = torch.from_numpy(block)
    return named


def _extent(row: Row, size: kernels.Places) -> tuple[int, int]:
    """The rows and columns in which the kernel lays a moment down, with those that only fill up."""
    extents = {
        (): (1, 1),
        ("feature",): (1, size.n),
        ("target",): (1, size.outputs),
        ("hidden",): (1, size.m),
        ("hidden", "target"): (size.rows, size.pitch),
        ("hidden", "hidden"): (size.hidden_rows, size.pitch),
    }
    return extents[row.axes]
