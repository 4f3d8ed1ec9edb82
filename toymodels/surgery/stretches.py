"""Stretches: the evaluation data of trained models in pieces that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.training.experiment import Experiment, check_one_structure, sampler

CHUNK = 256
"""Samples at once. The search for a scale passes over the same data again and again: this much stays in cache."""


def shared(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> Experiment:
    """An experiment with the bottleneck and the target of them all. Raises ``ValueError`` where there is none."""
    check_one_structure(experiments)
    if len(experiments) != len(parameters.W_in):
        raise ValueError(f"expected parameters of {len(experiments)} models, got {len(parameters.W_in)}")
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")
    return experiments[0]


def chunks(experiments: Sequence[Experiment], parameters: Parameters, samples: int, first: int) -> Iterator[Tensor]:
    """Evaluation data of the experiments, x [model, feature, at most CHUNK], in the parameters' precision."""
    data = sampler(experiments, str(parameters.W_in.device))
    for start in range(0, samples, CHUNK):
        yield data.evaluation(first + start, min(CHUNK, samples - start)).to(parameters.W_in.dtype)
