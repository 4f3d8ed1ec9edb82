"""The counter-based stream: random words as a pure function of where they are used.

A word is addressed, not drawn: Philox-4x32-10 (Salmon, Moraes, Dror, Shaw 2011, *Parallel random numbers: as easy as
1, 2, 3*) maps a counter and a key to four 32-bit words. Here

    counter = (feature, sample >> 2, step, domain)      key = (seed mod 2^32, seed >> 32)
    word(seed, feature, sample, step, domain) = philox(counter, key)[sample & 3]

so a model sees the same data alone, in a batch, in any order, on any engine and after any interruption.

Three versions give equal words: `toymodels.kernels.draw`, with which every CPU engine draws, torch operations, its
readable reference, and `toymodels.kernels.on_gpu.stream`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from toymodels.kernels.draw import fill_words, whole_tiles
from toymodels.surroundings import undisturbed

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
MASK_32 = 0xFFFFFFFF
MAX_SEED = 2**63 - 1


class Domain(IntEnum):
    """What a word is for. Words of different domains are independent, so no draw is ever used twice."""

    DATA = 0
    FIRING = 1
    INITIALISATION = 2
    EVALUATION = 3
    EVALUATION_FIRING = 4
    SHUFFLE = 5
    ROTATION = 6
    EMBEDDING = 7
    PAIRS = 8
    READ_OUT = 9
    TIES = 10


RoundKeys = Sequence[tuple[Tensor, Tensor]]
"""The two halves of the key of each round, int64."""


def _multiply(multiplier: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a 32 x 32 bit product; int64 wraps where unsigned numbers would not, to the same bits."""
    product = multiplier * x
    return (product >> 32) & MASK_32, product & MASK_32


def round_keys(low: Tensor | int, high: Tensor | int) -> RoundKeys:
    """The keys of all rounds, of the two halves of a key: one for all counters that it is used with."""
    k0, k1 = (torch.as_tensor(k, dtype=torch.int64) for k in (low, high))
    return [((k0 + n * WEYL_0) & MASK_32, (k1 + n * WEYL_1) & MASK_32) for n in range(ROUNDS)]


def philox(counter: Sequence[Tensor | int], keys: RoundKeys) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox-4x32-10 in torch operations (Salmon et al. 2011).

    The four of ``counter`` hold 32-bit values as int64 tensors or ints that broadcast together, and with ``keys``
    (`round_keys`). Returns the four words as int64 tensors in ``[0, 2^32)``.
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*(torch.as_tensor(c, dtype=torch.int64) for c in counter))
    for k0, k1 in keys:
        high_0, low_0 = _multiply(MULTIPLIER_0, c0)
        high_1, low_1 = _multiply(MULTIPLIER_1, c2)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
    return c0, c1, c2, c3


@undisturbed
def seed_keys(seeds: Tensor) -> RoundKeys:
    """The keys of all rounds for models of these ``seeds``, int64 [model]: [model, 1, 1] each."""
    of_model = seeds[:, None, None]
    return round_keys(of_model & MASK_32, of_model >> 32)


@undisturbed
def words_torch(
    keys: RoundKeys, n_features: int, n_samples: int, step: int | Tensor, domain: Domain, first_sample: int = 0
) -> Tensor:
    """The words of `words` as int64 ``[model, feature, sample]``, in torch operations on the device of the `seed_keys`.

    ``step`` may be an int64 tensor of one number on that device, which nothing here waits for.
    """
    check_range(n_features, n_samples, step if isinstance(step, int) else 0, first_sample)
    device = keys[0][0].device
    blocks = torch.arange(first_sample // 4, (first_sample + n_samples + 3) // 4, device=device)
    feature = torch.arange(n_features, device=device)
    quads = philox(
        (
            feature[None, :, None],
            blocks[None, None, :],
            torch.full((), step, device=device) if isinstance(step, int) else step,
            torch.full((), int(domain), device=device),
        ),
        keys,
    )
    return torch.stack(quads, dim=-1).flatten(2)[:, :, :n_samples]


def words(
    seeds: np.ndarray, n_features: int, n_samples: int, step: int, domain: Domain, first_sample: int = 0
) -> np.ndarray:
    """Words of the stream, uint32 ``[model, feature, sample]``, drawn with Numba.

    ``seeds`` is one non-negative int64 a model; samples run from ``first_sample`` (a multiple of 4). Raises
    ``ValueError`` outside the ranges of a 32-bit counter.
    """
    check_range(n_features, n_samples, step, first_sample)
    out = np.empty((len(seeds), n_features, whole_tiles(n_samples)), np.uint32)
    fill_words(out, np.asarray(seeds).astype(np.uint64), first_sample, step, int(domain))
    return np.ascontiguousarray(out[:, :, :n_samples])


def uniforms(seeds: np.ndarray, n_features: int, n_samples: int, step: int, domain: Domain) -> np.ndarray:
    """Uniform float64 in the open interval (0, 1), ``[model, feature, sample]``: (word + 1/2) / 2^32."""
    return (words(seeds, n_features, n_samples, step, domain) + 0.5) / 2.0**32


def check_range(n_features: int, n_samples: int, step: int, first_sample: int) -> None:
    """Raise ``ValueError`` outside the ranges of a 32-bit counter."""
    if first_sample % 4:
        raise ValueError(f"expected first_sample to be a multiple of 4, got {first_sample}")
    if not (0 <= step < 2**32 and 0 < n_features < 2**32 and 0 < n_samples and first_sample + n_samples <= 2**34):
        raise ValueError(
            f"expected step, features and samples / 4 to fit in 32 bits, got step {step}, "
            f"{n_features} features, samples {first_sample} to {first_sample + n_samples}"
        )
