"""Sparsity of a hidden layer by design: which weights there are, and which neurons are kept.

* *blocks*: W_in is block-diagonal. Block b of m / blocks neurons reads only the b-th part of the inputs, so W_in has
  m d / blocks weights in place of m d.
* *top k*: of each example the k largest |mid| are kept, the others are 0 (Makhzani and Frey 2013, *k-sparse
  autoencoders*, take the largest mid; here a neuron that says something below 0 says it too).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def block_mask(blocks: int, hidden: int, inputs: int) -> Tensor:
    """Which weights a block-diagonal W_in has: bool [hidden, input]; ``blocks`` divides both."""
    neuron, read = (torch.arange(size) // (size // blocks) for size in (hidden, inputs))
    return neuron[:, None] == read[None, :]


def largest(size: Tensor, k: int) -> Tensor:
    """Which entries of ``size`` [model, hidden, batch] are at least as large as the ``k``-th largest along axis 1, bool
    of its shape: of equal ones all or none, so that the order of neurons means nothing. ``k`` is from 1 to hidden."""
    if size.device.type == "cpu":
        # NumPy's partition is by the processor's vector instructions and takes a fifth of the time of torch's topk.
        place = size.shape[1] - k
        least = torch.from_numpy(np.partition(size.numpy(force=True), place, axis=1)[:, place : place + 1])
    else:
        least = size.detach().topk(k, dim=1).values[:, -1:]
    return ~(size < least)  # so that NaN is kept, and seen
