"""Elementary functions of rows against SciPy in float64."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy import special

from toymodels.kernels import elementary
from toymodels.kernels.vector import LANES, load, pointer, store

exp_, expm1_, logistic_, log1p_, erfinv_, normal_ = (
    getattr(elementary, name) for name in ("exp", "expm1", "logistic", "log1p", "erfinv", "normal")
)


@numba.njit
def run(which, x, y):
    a, b = pointer(x), pointer(y)
    for i in range(0, len(x), LANES):
        v = load(a, i)
        if which == 0:
            v = exp_(v)
        elif which == 1:
            v = expm1_(v)
        elif which == 2:
            v = logistic_(v)
        elif which == 3:
            v = log1p_(v)
        elif which == 4:
            v = erfinv_(v)
        elif which == 5:
            v = normal_(v)[0]
        else:
            v = normal_(v)[1]
        store(b, i, v)


NAMES = ("exp", "expm1", "logistic", "log1p", "erfinv", "Phi", "phi")


def values(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x in float32, and the function's values there."""
    x = np.resize(x.astype(np.float32), -(-len(x) // LANES) * LANES)
    y = np.full_like(x, 7)
    run(NAMES.index(name), x, y)
    return x, y


SMALL = np.logspace(-7, -1, 4001)


@pytest.mark.parametrize(
    "name, exact, x, tolerance",
    [
        ("exp", np.exp, np.linspace(-87, 88.7, 40001), 1.2e-7),
        ("expm1", np.expm1, np.r_[-np.logspace(-7, 1.9, 8001), 0], 1.2e-7),
        ("logistic", special.expit, np.linspace(-80, 80, 40001), 2.5e-7),
        ("log1p", np.log1p, np.r_[-(1 - np.logspace(-7, 0, 8001)), -SMALL, SMALL, np.linspace(0, 1, 99)], 2.5e-7),
        ("erfinv", special.erfinv, np.r_[-SMALL, 1 - SMALL, np.linspace(-0.9999, 0.9999, 8001)], 5e-7),
        ("Phi", special.ndtr, np.linspace(-4, 8, 40001), 2e-6),
        ("phi", lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi), np.linspace(-4, 4, 40001), 2e-6),
    ],
)
def test_relative_error_is_that_of_float32(name, exact, x, tolerance):
    x, y = values(name, np.clip(x, -0.9999999 if name == "log1p" else -np.inf, np.inf))
    truth = exact(x.astype(np.float64))
    np.testing.assert_allclose(y, truth, rtol=tolerance, atol=1e-37)


def test_the_edges():
    ends = np.array([np.nan, np.inf, -np.inf, 89, -110, 0, -0.0])
    assert np.array_equal(values("exp", ends)[1][:7], [np.nan, np.inf, 0, np.inf, 0, 1, 1], equal_nan=True)
    assert np.array_equal(values("expm1", ends)[1][[0, 2, 4, 5]], [np.nan, -1, -1, 0], equal_nan=True)
    assert np.array_equal(values("logistic", ends)[1][:5], [np.nan, 1, 0, 1, 0], equal_nan=True)
    assert np.array_equal(values("Phi", ends)[1][:6], [np.nan, 1, 0, 1, 0, 0.5], equal_nan=True)
    assert np.array_equal(values("phi", ends)[1][1:3], [0, 0])
    assert np.isfinite(values("erfinv", np.array([1.0, -1.0, 2.0]))[1][:3]).all()


def test_the_smallest_exponentials_are_subnormal_not_zero():
    x, y = values("exp", np.linspace(-103, -88, 301))
    np.testing.assert_allclose(y, np.exp(x.astype(np.float64)), rtol=0.5)
    assert (y > 0).all()
