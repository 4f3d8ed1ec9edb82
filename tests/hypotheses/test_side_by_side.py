"""Side by side: the same results in the same order, whatever the processes, with tensors inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from toymodels.hypotheses.side_by_side import each, packed, unpacked
from toymodels.metrics.tiers import Tier


@dataclass(frozen=True)
class Held:
    name: str
    numbers: dict[Tier, torch.Tensor]
    array: np.ndarray


def square(k: int) -> Held:
    return Held(f"of {k}", {Tier.NEURON: torch.arange(k) ** 2}, np.full(2, k))


def same(one: Held, other: Held) -> bool:
    tensors = torch.equal(one.numbers[Tier.NEURON], other.numbers[Tier.NEURON])
    return one.name == other.name and tensors and bool((one.array == other.array).all())


def test_what_is_packed_is_unpacked_alike():
    value = [(square(3), {"a": torch.tensor(True)}, None, "text")]
    ((held, mapping, nothing, text),) = unpacked(packed(value))
    assert same(held, square(3))
    assert (mapping, nothing, text) == ({"a": torch.tensor(True)}, None, "text")
    assert isinstance(held.array, np.ndarray)


def test_processes_give_what_one_gives_in_the_order_of_the_pieces():
    alone, two = list(each(square, [5, 1, 3], 1)), list(each(square, [5, 1, 3], 2))
    assert all(same(one, other) for one, other in zip(alone, two, strict=True))
    assert [held.name for held in two] == ["of 5", "of 1", "of 3"]
