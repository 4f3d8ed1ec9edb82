"""JumpReLU: a latent answers above a threshold of its own, which is trained, and the number of those that do costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.sparsity import PENALTIES, Selection, Sparsity, check_numbers, each_model

FIRST_THRESHOLD = 0.05
"""where thresholds start, and those of revived latents"""


@dataclass(frozen=True)
class JumpReLU(Sparsity):
    """Latents that exceed their threshold stay as they are: f_l = z_l H(z_l - theta_l), theta_l >= 0.

    With L0 the number of latents that answer, its mean over a batch, the loss grows by penalty (L0 / target_l0 - 1)^2,
    or, where ``target_l0`` is None, by ``penalty`` x L0. A step has no slope, so to the thresholds H is one of
    width ``bandwidth`` b (a *straight-through* gradient), over examples

        d loss / d theta_l = - E 1[|z_l - theta_l| < b / 2] / b x (theta_l d loss / d f_l + d loss / d L0)

    and to the encoder it is none. Rajamanoharan et al. 2024, *Jumping Ahead: Improving Reconstruction Fidelity with
    JumpReLU Sparse Autoencoders*; their target is each example's, ours the mean's, as examples have more features and
    fewer. Their thresholds are trained as logarithms, ours as they are, and brought back to 0 from below.
    """

    target_l0: float | tuple[float, ...] | None = 1.0
    penalty: float | tuple[float, ...] = 1.0
    bandwidth: float = 0.4

    competing = False

    def __post_init__(self) -> None:
        check_numbers("penalty", self.penalty)
        check_numbers("bandwidth", self.bandwidth, above=True)
        if self.target_l0 is not None:
            check_numbers("target_l0", self.target_l0, above=True)

    def selection(self, n_models: int, latents: int, device: torch.device) -> Selection:
        """Thresholds in training."""
        return Jumps(self, n_models, latents, device)

    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[JumpReLU, int]:
        """``target_l0`` as the target."""
        return replace(self, target_l0=tuple(target_l0.double().tolist())), 1


class Jumps(Selection):
    """Thresholds in training, [model, latent].

    What is above or near them is written as 0 and 1 in float32, which torch does in vector registers: with booleans a
    step took 1.3 times as long.
    """

    def __init__(self, kind: JumpReLU, n_models: int, latents: int, device: torch.device) -> None:
        super().__init__(n_models, device)
        self.bandwidth = kind.bandwidth
        self.penalty = each_model(kind.penalty, n_models).float().to(device)
        self.target = None if kind.target_l0 is None else each_model(kind.target_l0, n_models).float().to(device)
        self.threshold = torch.full((n_models, latents), FIRST_THRESHOLD, device=device)
        self.parameters = (self.threshold,)
        self.z = self.f = self.above = self.near = torch.empty(0)

    def select(self, z: Tensor) -> Tensor:
        """The latents above their threshold."""
        if self.f.shape != z.shape:
            self.f, self.above, self.near = z.new_empty(3, *z.shape)
        self.z = z
        torch.gt(z, self.threshold[:, :, None], out=self.above)
        return torch.mul(z, self.above, out=self.f)

    def backward(self, f: Tensor, g: Tensor, unit: float) -> None:
        """To z where the latent answers; to its threshold where z is near it."""
        assert self.threshold.grad is not None
        distance = torch.sub(self.z, self.threshold[:, :, None], out=self.near).abs_()
        near = torch.lt(distance, self.bandwidth / 2, out=self.near)
        by_number = near.sum(2) * (self._price()[:, None] / f.shape[2])
        by_error = near.mul_(g).sum(2) * self.threshold * unit
        torch.div(by_error + by_number, -self.bandwidth, out=self.threshold.grad)
        super().backward(f, g, unit)

    def _price(self) -> Tensor:
        """d loss / d L0, [model]."""
        if self.target is None:
            return self.penalty
        l0 = self.above.sum((1, 2)) / self.above.shape[2]
        return 2 * self.penalty * (l0 / self.target - 1) / self.target

    def project(self) -> None:
        """No threshold is below 0."""
        self.threshold.clamp_(min=0)

    def revive(self, dead: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Thresholds of the dead start anew."""
        self.threshold.masked_fill_(dead, FIRST_THRESHOLD)
        optimizer.state[self.threshold]["exp_avg"].masked_fill_(dead, 0)

    def finish(self, dictionary: Dictionary, answers: Iterable[Tensor]) -> Dictionary:
        """The thresholds as they are."""
        return replace(dictionary, threshold=self.threshold.clone())
