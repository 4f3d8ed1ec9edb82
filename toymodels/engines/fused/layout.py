"""Layout: where each parameter of a model begins in ``theta``, the flat float32 vector that the kernels see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.fused.codes import ACTIVATION_CODES, LOSS_CODES, OUTPUT_CODES, TARGET_CODES
from toymodels.kernels import products
from toymodels.kernels.shape import Shape
from toymodels.kernels.workspace import aligned
from toymodels.training.experiment import Experiment


def shape_of(experiment: Experiment) -> Shape:
    """The sizes, the layout of theta and the codes of an experiment's structure."""
    b, n, m = experiment.bottleneck, experiment.features.n, experiment.bottleneck.hidden
    pitch, affine = products.pitch(m), b.layer_norm is not None and b.layer_norm.affine
    matrix, size = products.padded(n) * pitch, 0
    begins: dict[str, int] = {}
    for name, length, there in (
        ("W_in", matrix, True),
        ("W_out", matrix, not b.tied),
        ("b_in", pitch, b.hidden_bias),
        ("b_out", n, b.output_bias),
        ("gain", pitch, affine),
        ("bias", pitch, affine),
    ):
        begins[name] = size if there else -1
        size += length if there else 0
    if b.tied:
        begins["W_out"] = begins["W_in"]
    return Shape(
        n=n,
        m=m,
        pitch=pitch,
        batch=experiment.training.batch,
        **begins,
        size=-(-size // 16) * 16,
        activation=ACTIVATION_CODES[type(b.activation)],
        layer_norm=int(b.layer_norm is not None),
        output=OUTPUT_CODES[type(b.output)],
        target=TARGET_CODES[type(experiment.target)],
        loss=LOSS_CODES[type(experiment.loss)],
    )


def _views(shape: Shape, theta: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters inside ``theta [..., parameter]``, by name and in the order of axes of `Parameters`."""

    def vector(begin: int, size: int) -> np.ndarray:
        return theta[..., begin : begin + size]

    def matrix(begin: int) -> np.ndarray:
        rows = products.padded(shape.n)
        whole = vector(begin, rows * shape.pitch).reshape(*theta.shape[:-1], rows, shape.pitch)
        return whole[..., : shape.n, : shape.m]

    views = {"W_in": np.swapaxes(matrix(shape.W_in), -1, -2)}
    if shape.W_out != shape.W_in:
        views["W_out"] = matrix(shape.W_out)
    for name, begin, size in (
        ("b_in", shape.b_in, shape.m),
        ("b_out", shape.b_out, shape.n),
        ("ln_gain", shape.gain, shape.m),
        ("ln_bias", shape.bias, shape.m),
    ):
        if begin >= 0:
            views[name] = vector(begin, size)
    return views


def pack(shape: Shape, parameters: Parameters) -> np.ndarray:
    """Parameters as ``theta [model, parameter]``."""
    theta = aligned(len(parameters.W_in) * shape.size).reshape(-1, shape.size)
    tensors = parameters.trained()
    for name, view in _views(shape, theta).items():
        view[...] = tensors[name].detach().numpy()
    return theta


def unpack(shape: Shape, theta: np.ndarray) -> dict[str, Tensor]:
    """The parameters in ``theta [..., parameter]``, by name."""
    return {name: torch.from_numpy(np.ascontiguousarray(view)) for name, view in _views(shape, theta).items()}
