"""The largest: which latents answer where they compete, of an example or of a whole batch, in place.

On a CPU a compiled kernel finds those of an example, NumPy's partition those of a batch; on any other device torch.topk
does, which nothing waits for. On a CPU it takes seven times as long as the kernel, and 12 to 29 times as long as the
partition, which is in vector registers (32 x 256 to 512 x 512 entries, AVX-512).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toymodels.kernels.largest import keep_largest


def keep_largest_of_examples(f: Tensor, k: Tensor, most: int | None = None) -> None:
    """Zero all but the ``k`` [model] largest positive latents of each example, f ``[model, latent, batch]``; of equals
    the first stay. ``most`` is the largest k: the device is asked for it where it is None."""
    if f.device.type == "cpu":
        keep_largest(f.numpy(), k.numpy())
        return
    k, most = k.clamp(max=f.shape[1])[:, None, None], int(k.max()) if most is None else most
    least = f.topk(min(most, f.shape[1]), dim=1).values.gather(1, (k - 1).expand(-1, 1, f.shape[2]))
    above, equal = f > least, f == least
    first = equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True))
    f.masked_fill_(~(above | first) | (f <= 0), 0)


def keep_largest_of_batches(f: Tensor, last: Tensor, most: int) -> None:
    """Zero all entries of f ``[model, latent, batch]`` but each model's ``last`` + 1 largest, where these are above 0;
    those equal to the least of them stay too. ``last`` is int64 [model], ``most`` the largest of last + 1. For devices
    that are no CPU."""
    least = f.flatten(1).topk(most, dim=1).values.gather(1, last[:, None])[:, :, None]
    f.masked_fill_((f < least) | (f <= 0), 0)


def keep_largest_of_all(f: Tensor, keep: int) -> None:
    """Zero all entries of f but the ``keep`` largest, where these are above 0; those equal to the least of them stay
    too. On a CPU.

    Counting digits in a compiled kernel of ours took 5 to 19 times as long as NumPy's partition.
    """
    at = f.numel() - keep
    least = np.partition(f.numpy().reshape(-1), at)[at]
    torch.threshold_(f, max(0.0, float(np.nextafter(least, np.float32(-np.inf)))), 0.0)
