"""The autograd engine: plain PyTorch on any device. The reference for every other engine.

All models of one structure train at once on the leading ``model`` axis. Their losses are summed, so each model's
gradient is its own; optimizer state, learning rate and weight decay are per model too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.autograd import loop, moments, rotated
from toymodels.engines.engine import Engine, OnNote, OnStep, unheard
from toymodels.kernels import compiled
from toymodels.surroundings import torch_threads, undisturbed
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.keep import Keep
from toymodels.training.trained import Trained

SPLIT_BELOW = 16
"""MKL splits the sum in a product of small matrices between threads: of 590 shapes those of one model with fewer
features or neurons than this had other bits, and so it is of targets and an embedding. Such a model is trained on one
thread."""
FEATURE_COPIES, HIDDEN_COPIES, WEIGHT_COPIES, PRUNING_COPIES = 10, 16, 8, 6


class AutogradEngine(Engine):
    """Trains anything anywhere. The weights are the same bits on any number of threads."""

    name = "autograd"
    devices = ("cpu", "cuda")

    def refuses(
        self, experiments: Sequence[Experiment], device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> str | None:
        """None: whatever can be described can be trained."""

    def bytes_needed(self, experiments: Sequence[Experiment], dtype: torch.dtype = torch.float32) -> int:
        """Upper estimate of the memory that training these models at once takes.

        Counted: about 10 arrays [model, feature, batch], as many [model, embedding, batch] and, of targets that are not
        features, [model, target, batch], and 16 [model, hidden, batch] alive at the peak of a backward pass, weights
        with gradients and two moments, and what sorts them where few are kept, curves and snapshots. The tests hold it
        against the measured peak.
        """
        total = 0
        for e in experiments:
            sizes, t = e.sizes, e.training
            wide = sizes.feature + sizes.embedding + (0 if e.target.of_features else sizes.target)
            activations = t.batch * (FEATURE_COPIES * wide + HIDDEN_COPIES * sizes.hidden)
            copies = WEIGHT_COPIES + t.snapshots + (PRUNING_COPIES if t.weights_kept < 1 else 0)
            weights = (sizes.weights + sizes.target + 3 * sizes.hidden) * copies
            total += dtype.itemsize * (activations + weights + t.curve_points)
        return total

    def prepare(self, on_note: OnNote = unheard) -> None:
        """Nothing: PyTorch is compiled."""

    @undisturbed
    def train(
        self,
        experiments: Sequence[Experiment],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        on_step: OnStep | None = None,
        keep: Keep | None = None,
    ) -> Trained:
        """See `Engine`. An interruption saves the last whole step into ``keep``."""
        check_one_structure(experiments)
        e = experiments[0]
        alone = len(experiments) == 1 and e.sizes.least < SPLIT_BELOW
        with torch_threads(1 if alone else torch.get_num_threads()):
            return loop.train(experiments, device, dtype, on_step, keep)

    def moments(
        self, experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        """See `Engine`; in the precision of the parameters within a chunk of samples."""
        return moments.sums(experiments, parameters, edges)

    def rotated_r2(
        self, experiments: Sequence[Experiment], parameters: Parameters, rotations: Tensor, first: int, samples: int
    ) -> Tensor:
        """See `Engine`; in the precision of the parameters within a chunk of samples."""
        return rotated.r2(experiments, parameters, rotations, first, samples)

    def fingerprint(self) -> Mapping[str, str]:
        """The versions of PyTorch and SciPy, the vector instructions that PyTorch uses, and the kernels that draw x."""
        return {
            "engine": self.name,
            "torch": torch.__version__,
            "scipy": version("scipy"),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "kernels": compiled.digest(),
        }
