"""Frequency laws: the mean is the density, the cap holds, the shape is the law's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels.laws import Geometric, Listed, Uniform, Zipf, probabilities

LAWS = st.one_of(
    st.just(Uniform()),
    st.builds(Zipf, st.floats(0, 5)),
    st.builds(Geometric, st.floats(0.3, 2)),
)


@given(LAWS, st.integers(1, 60), st.floats(1e-6, 1), st.floats(0.01, 1))
def test_probabilities_have_the_density_as_mean_and_respect_the_cap(law, n, density, cap):
    if density > cap:
        with pytest.raises(ValueError, match="density"):
            probabilities(law, n, density, cap)
        return
    p = probabilities(law, n, density, cap)
    assert p.shape == (n,)
    assert p.mean() == pytest.approx(density, rel=1e-9)
    assert (p > 0).all()
    assert (p <= cap * (1 + 1e-12)).all()
    below = p < cap * (1 - 1e-9)
    ratio = p[below] / law.weights(n)[below]
    assert np.allclose(ratio, ratio[:1], rtol=1e-9)


def test_zipf_and_geometric_weights():
    assert np.allclose(Zipf(1.2).weights(4), [1, 2**-1.2, 3**-1.2, 4**-1.2])
    assert np.allclose(Geometric(0.7).weights(3), [1, 0.7, 0.49])
    assert np.array_equal(Listed((3.0, 1.0)).weights(2), [3, 1])


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: Zipf(-1.0), "exponent"),
        (lambda: Geometric(0.0), "ratio"),
        (lambda: Geometric(float("nan")), "ratio"),
        (lambda: Listed((1.0, float("inf"))), "finite"),
        (lambda: Listed((1.0,)).weights(2), "expected 2"),
        (lambda: Geometric(1e10).weights(99), "overflows"),
        (lambda: probabilities(Uniform(), 3, 0.0), "density"),
        (lambda: probabilities(Uniform(), 3, 1.5), "density"),
        (lambda: probabilities(Uniform(), 3, float("nan")), "density"),
        (lambda: probabilities(Uniform(), 3, 0.1, cap=0.0), "cap"),
        (lambda: probabilities(Listed((1.0, 0.0)), 2, 0.1), "above 0"),
    ],
)
def test_nonsense_is_refused_by_name(make, word):
    with pytest.raises(ValueError, match=word):
        make()
