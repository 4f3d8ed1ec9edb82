"""The k largest: of the latents of a sparse dictionary, example by example."""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import kernel

ABREAST = 64
"""examples that are gone through at once"""


@kernel
def keep_largest(f: np.ndarray, k: np.ndarray) -> None:
    """Zero all but the k largest positive entries over latents; of equals the first stay. f [model, latent, batch].

    Insertion into k sorted rows, `ABREAST` examples at a time and without branches: torch.topk takes seven times as
    long.
    """
    n_models, n_latents, n_batch = f.shape
    largest, value = np.empty((k.max(), ABREAST), np.float32), np.empty(ABREAST, np.float32)
    room, one, zero = np.empty(ABREAST, np.float32), np.float32(1), np.float32(0)
    for m in range(n_models):
        for first in range(0, n_batch, ABREAST):
            width = min(ABREAST, n_batch - first)
            largest[:] = value[:] = room[:] = 0
            for latent in range(n_latents):
                for i in range(width):
                    value[i] = f[m, latent, first + i]
                for j in range(k[m]):
                    row = largest[j]
                    for i in range(ABREAST):
                        row[i], value[i] = max(row[i], value[i]), min(row[i], value[i])
            least = largest[k[m] - 1]
            for j in range(k[m]):
                for i in range(ABREAST):
                    room[i] += one if largest[j, i] == least[i] else zero
            for latent in range(n_latents):
                row = f[m, latent]
                for i in range(width):
                    entry = row[first + i]
                    equal = one if (entry == least[i]) & (room[i] > 0) else zero
                    room[i] -= equal
                    row[first + i] = entry if (entry > least[i]) | (equal > 0) else zero
