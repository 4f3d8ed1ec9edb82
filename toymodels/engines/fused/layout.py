"""Layout: where each parameter of a model begins in ``theta``, the flat float32 vector that the kernels see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.fused.codes import ACTIVATION_CODES, LOSS_CODES, OUTPUT_CODES, TARGET_CODES
from toymodels.kernels import products
from toymodels.kernels.shape import Shape
from toymodels.kernels.vector import NATIVE
from toymodels.kernels.workspace import aligned
from toymodels.training.experiment import Experiment

ORDER = ("W_in", "W_out", "b_in", "b_out", "ln_gain", "ln_bias", "E")
"""in which the parameters lie in theta, those that there are"""


def shape_of(experiment: Experiment) -> Shape:
    """The sizes, the layout of theta and the codes of an experiment's structure."""
    b, n, m, outputs = experiment.bottleneck, experiment.features.n, experiment.bottleneck.hidden, experiment.n_targets
    inputs = n if b.embedding is None else b.embedding.size
    pitch, input_pitch = products.pitch(m), 0 if b.embedding is None else products.pitch(inputs)
    lengths = {
        "W_in": products.padded(inputs) * pitch,
        "W_out": products.padded(outputs) * pitch,
        "b_in": pitch,
        "b_out": outputs,
        "ln_gain": pitch,
        "ln_bias": pitch,
        "E": products.padded(n) * input_pitch,
    }
    begins, size = dict.fromkeys(ORDER, -1), 0
    for name in ORDER:
        if name in b.axes:
            begins[name] = size
            size += lengths[name]
    if b.tied:
        begins["W_out"] = begins["W_in"]
    few = m <= products.FEW
    pairs_in = 0 if b.tied or not few else outputs * m * NATIVE
    pairs_E = pairs_in + (inputs * m * NATIVE if few else 0)
    return Shape(
        n=n,
        inputs=inputs,
        m=m,
        outputs=outputs,
        pitch=pitch,
        input_pitch=input_pitch,
        batch=experiment.training.batch,
        **{{"ln_gain": "gain", "ln_bias": "bias"}.get(name, name): begin for name, begin in begins.items()},
        size=-(-size // 16) * 16,
        pairs_in=pairs_in,
        pairs_E=pairs_E,
        pairs=pairs_E + (n * inputs * NATIVE if "E" in b.axes and inputs <= products.FEW else 0),
        activation=ACTIVATION_CODES[type(b.activation)],
        layer_norm=int(b.layer_norm is not None),
        output=OUTPUT_CODES[type(b.output)],
        target=TARGET_CODES[type(experiment.target)],
        loss=LOSS_CODES[type(experiment.cost)],
    )


def _matrix(values: np.ndarray, rows: int, pitch: int, columns: int) -> np.ndarray:
    """The ``rows`` x ``columns`` numbers of a matrix that lies in ``values [..., number]`` with what fills it up."""
    whole = values.reshape(*values.shape[:-1], products.padded(rows), pitch)
    return whole[..., :rows, :columns]


def _views(shape: Shape, theta: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters inside ``theta [..., parameter]``, by name and in the order of axes of `Parameters`."""

    def vector(begin: int, size: int) -> np.ndarray:
        return theta[..., begin : begin + size]

    def matrix(begin: int, rows: int, pitch: int, columns: int) -> np.ndarray:
        return _matrix(vector(begin, products.padded(rows) * pitch), rows, pitch, columns)

    views = {"W_in": np.swapaxes(matrix(shape.W_in, shape.inputs, shape.pitch, shape.m), -1, -2)}
    if shape.W_out != shape.W_in:
        views["W_out"] = matrix(shape.W_out, shape.outputs, shape.pitch, shape.m)
    for name, begin, size in (
        ("b_in", shape.b_in, shape.m),
        ("b_out", shape.b_out, shape.outputs),
        ("ln_gain", shape.gain, shape.m),
        ("ln_bias", shape.bias, shape.m),
    ):
        if begin >= 0:
            views[name] = vector(begin, size)
    if shape.E >= 0:
        views["E"] = np.swapaxes(matrix(shape.E, shape.n, shape.input_pitch, shape.inputs), -1, -2)
    return views


def fixed_embedding(shape: Shape, parameters: Parameters) -> np.ndarray:
    """The embedding where it is not in theta, as the kernels have a matrix: float32 ``[model, number]``, or empty."""
    models = len(parameters.W_in)
    if parameters.E is None or shape.E >= 0:
        return np.zeros((models, 0), np.float32)
    size = products.padded(shape.n) * shape.input_pitch
    packed = aligned(models * size).reshape(models, size)
    _matrix(packed, shape.n, shape.input_pitch, shape.inputs)[...] = parameters.E.detach().numpy().swapaxes(1, 2)
    return packed


def pack(shape: Shape, parameters: Parameters) -> np.ndarray:
    """Parameters as ``theta [model, parameter]``."""
    theta = aligned(len(parameters.W_in) * shape.size).reshape(-1, shape.size)
    tensors = parameters.present()
    for name, view in _views(shape, theta).items():
        view[...] = tensors[name].detach().numpy()
    return theta


def unpack(shape: Shape, theta: np.ndarray) -> dict[str, Tensor]:
    """The parameters in ``theta [..., parameter]``, by name."""
    return {name: torch.from_numpy(np.ascontiguousarray(view)) for name, view in _views(shape, theta).items()}
