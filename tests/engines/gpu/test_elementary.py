"""Elementary functions in Triton against SciPy's in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

triton = pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
import triton.language as tl  # noqa: E402

from toymodels.engines.gpu.kernels import elementary  # noqa: E402

SIZE = 1024
BELOW_ONE = 1 - 2.0**-24


@triton.jit
def apply(x, out, function: tl.constexpr):
    at = tl.arange(0, 1024)
    v = tl.load(x + at)
    if function == "expm1":
        y = elementary.expm1(v)
    elif function == "log1p":
        y = elementary.log1p(v)
    elif function == "logistic":
        y = elementary.logistic(v)
    elif function == "erfinv":
        y = elementary.erfinv(v)
    elif function == "cdf":
        y, _ = elementary.normal(v)
    elif function == "density":
        _, y = elementary.normal(v)
    else:
        y = tl.where(elementary.finite(v), 1.0, 0.0)
    tl.store(out + at, y)


def applied(function: str, x: np.ndarray) -> np.ndarray:
    out = torch.empty(SIZE)
    with np.errstate(all="ignore"):
        apply[(1,)](torch.from_numpy(np.ascontiguousarray(x, np.float32)), out, function=function)
    return out.numpy().astype(np.float64)


def near(edge: float) -> np.ndarray:
    """Numbers from tiny to ``edge``, in equal ratios."""
    return np.sign(edge) * np.geomspace(1e-30, abs(edge), SIZE)


@pytest.mark.parametrize(
    "name, x, truth",
    [
        ("expm1", near(-100), np.expm1),
        ("expm1", np.linspace(-1, 0, SIZE), np.expm1),
        ("log1p", near(1), np.log1p),
        ("log1p", near(-BELOW_ONE), np.log1p),
        ("logistic", np.linspace(-80, 80, SIZE), special.expit),
        ("erfinv", near(BELOW_ONE), special.erfinv),
        ("erfinv", np.linspace(-BELOW_ONE, BELOW_ONE, SIZE), special.erfinv),
        ("cdf", np.linspace(-12, 8, SIZE), special.ndtr),
        ("density", np.linspace(-12, 12, SIZE), lambda z: np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)),
    ],
)
def test_functions_are_those_of_scipy(name: str, x: np.ndarray, truth: Callable[[np.ndarray], Any]) -> None:
    x = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(applied(name, x), truth(x), rtol=5e-6 if name in ("cdf", "density") else 2e-6, atol=0)


def test_what_is_finite_is_told() -> None:
    x = np.zeros(SIZE, np.float32)
    x[:6] = np.nan, np.inf, -np.inf, np.finfo(np.float32).max, np.finfo(np.float32).min, 1e-45
    assert applied("finite", x)[:6].tolist() == [0, 0, 0, 1, 1, 1]
