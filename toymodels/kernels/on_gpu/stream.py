"""The stream: words of `toymodels.random`, and x of `toymodels.features` before its values are shaped.

A word is addressed by its feature, so x of any features is drawn in any order: of the members of pairs once more.
``form`` is whatever a kernel was compiled for, of which these take ``n`` (features), ``tile`` (samples), ``grouped``
(whether a word decides for several features), ``binary`` and ``signed``.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def words(seed, feature, first_block, step, domain, form: tl.constexpr):
    """uint32 [feature, sample] of a tile that begins with the block ``first_block`` of four samples.

    ``feature`` are the features' numbers, int32.
    """
    block = (first_block + tl.arange(0, form.tile // 4)).to(tl.uint32)
    zero = feature.to(tl.uint32)[:, None] * 0 + block[None, :] * 0
    w0, w1, w2, w3 = tl.philox(
        seed,
        zero + feature.to(tl.uint32)[:, None],
        zero + block[None, :],
        zero + step,
        zero + domain,
    )
    return tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), [feature.shape[0], form.tile])


@triton.jit
def drawn_from(low, high, divisor, member, model, feature, there, form: tl.constexpr):
    """What features are drawn from, as in `toymodels.kernels.draw.Source`: (feature, low, high, divisor, group).

    Where they are not ``there``, such that they are never active.
    """
    place = model * form.n + feature
    group = feature
    if form.grouped:
        group = tl.load(member + feature, mask=there, other=0)
    return (
        feature,
        tl.load(low + place, mask=there, other=-1).to(tl.uint32, bitcast=True),
        tl.load(high + place, mask=there, other=0).to(tl.uint32, bitcast=True),
        tl.load(divisor + place, mask=there, other=1.0),
        group,
    )


@triton.jit
def draw(seed, drawn, first_block, step, data, firing, form: tl.constexpr):
    """x, float32 [feature, sample], of a tile of the domains ``data`` and ``firing``; values are 1 or uniform."""
    feature, low, high, divisor, group = drawn
    own = words(seed, feature, first_block, step, data, form)
    deciding = own
    if form.grouped:
        deciding = words(seed, group, first_block, step, firing, form)
    active = (deciding >= low[:, None]) & (deciding <= high[:, None])
    return tl.where(active, _values(own, divisor[:, None], form), 0.0)


@triton.jit
def _values(own, divisor, form: tl.constexpr):
    """The value of each word, were it active; u / T in float64, as the reference has it."""
    u = own.to(tl.float64)
    if form.binary:
        if form.signed:
            return tl.where(2 * u >= divisor, 1.0, -1.0)
        else:
            return tl.full(own.shape, 1.0, tl.float32)
    else:
        r = u / divisor
        if form.signed:
            r = 2 * r - 1
        return r.to(tl.float32)
