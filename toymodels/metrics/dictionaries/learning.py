"""Learning: dictionaries trained side by side, one a model, with gradients by hand and dead latents revived.

Words come from domain ``INITIALISATION``, whose step 0 is the models' own start: step `START_STEP` is a dictionary's,
and the r-th revival of dead latents is step `START_STEP` + r. Dictionaries of one seed share them, as at several
penalties or several taps of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from toymodels import random
from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.sparsity import Sparsity
from toymodels.random import Domain
from toymodels.surroundings import undisturbed

START_STEP = 1
REVIVALS = 10
POOL = 4096
"""samples on none of which a latent fires that is dead"""
BETAS = (0.0, 0.999)
"""Adam's. No momentum: more latents live, as one that has stopped firing does not drift on."""
DECAY = 0.2
"""the share of the steps over which the rate falls to 0"""
FUSED = ("cpu", "cuda")
"""where Adam is one kernel"""
LOOKED_AT = 64
"""the most batches of what it was trained on that a kind looks at to say how its latents answer afterwards"""


@undisturbed
def fit(
    activations: Tensor,
    kind: Sparsity,
    latents: int,
    seeds: Sequence[int],
    steps: int = 2000,
    batch: int = 512,
    learning_rate: float = 2e-3,
) -> Dictionary:
    """Train one dictionary a model on ``activations [model, hidden, sample]``, whose samples are independent.

    Minibatches are neighbouring samples, over and over. Adam, its rate falling linearly to 0 over the last fifth; D's
    columns are kept at norm 1, their gradient freed of what would change it (Bricken et al. 2023). E starts at D^T,
    times hidden / latents where latents do not compete (`L1`, `JumpReLU`). `REVIVALS` times in the first half, latents
    that fire on none of the latest `POOL` samples are *revived*: pointed at what their model (in `Matryoshka` their own
    level of it) still misses of an example, drawn in proportion to its squared error squared, with an encoder of norm
    .2 or, where latents compete, 1. After Bricken et al. 2023, who point at the example itself.

    float32, on the device of the ``activations``, which only a revival waits for: examples are drawn on the CPU, where
    sums that run over them are the same every time.
    """
    if not isinstance(kind, Sparsity):
        raise TypeError(f"kind: expected a kind of sparsity, such as TopK(4) or L1(0.1), got {kind!r:.60}")
    if activations.dim() != 3:
        raise ValueError(
            f"activations: expected [model, hidden, sample], got shape {list(activations.shape)}; rows that are "
            "samples, as `tm.host` gives them, are columns of one model by .T[None]"
        )
    n_models, _, samples = activations.shape
    if len(seeds) != n_models:
        raise ValueError(f"seeds: expected one for each of {n_models} models, got {len(seeds)}")
    if min(latents, samples, steps, batch) < 1:
        got = f"{latents}, {samples}, {steps}, {batch}"
        raise ValueError(f"expected at least one latent, sample, step and example a batch, got {got}")
    learner = Learner(activations, kind, latents, np.asarray(seeds, dtype=np.int64), min(batch, samples))
    fused = activations.device.type in FUSED or None
    optimizer = torch.optim.Adam(learner.parameters, lr=learning_rate, betas=BETAS, fused=fused)
    every = max(1, steps // (2 * REVIVALS))
    for step in range(steps):
        learner.differentiate(learner.slice(step, batch))
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (steps - step) / (DECAY * steps))
        optimizer.step()
        learner.normalise()
        revival, due = divmod(step + 1, every)
        if due == 0 and 2 * (step + 1) <= steps:
            learner.revive(learner.slice(step, POOL), START_STEP + revival, optimizer)
    return learner.dictionary()


class Learner:
    """The parameters in training, their gradients by hand, and room for a step's intermediates.

    By hand because the intermediates are then written in place: new memory for each costs ten times the product.
    """

    def __init__(self, activations: Tensor, kind: Sparsity, latents: int, seeds: np.ndarray, batch: int) -> None:
        n_models, n_hidden, samples = activations.shape
        device = activations.device
        self.seeds, self.n_hidden = seeds, n_hidden
        rms = activations.float().square().sum(1).mean(1).sqrt()
        self.scale = torch.where(rms > 0, rms, 1.0)
        # A last coordinate that is always 1 makes the encoder's bias a column of its weights.
        self.u = torch.ones(n_models, n_hidden + 1, samples, device=device)
        torch.div(activations, self.scale[:, None, None], out=self.u[:, :n_hidden])
        start = ndtri(random.uniforms(seeds, latents, n_hidden, START_STEP, Domain.INITIALISATION))
        self.D = torch.from_numpy(start).transpose(1, 2).float().contiguous().to(device)
        self.selection, self.levels = kind.selection(n_models, latents, device), kind.levels(latents)
        self.normalise()
        norm, self.revived_norm, self.revived_memory = (
            (1.0, 1.0, 0.0) if kind.competing else (min(1.0, n_hidden / latents), 0.2, 1.0)
        )
        self.E = torch.cat([norm * self.D.transpose(1, 2), self.D.new_zeros(n_models, latents, 1)], dim=2)
        self.d = self.D.new_zeros(n_models, n_hidden)
        self.parameters = [self.E, self.D, self.d, *self.selection.parameters]
        for parameter in self.parameters:
            parameter.grad = torch.empty_like(parameter)
        self.half_penalty = self.selection.half_penalty * len(self.levels)
        self.z, self.g = self.D.new_empty(2, n_models, latents, batch)
        self.errors = self.D.new_empty(len(self.levels), n_models, n_hidden, batch)

    def slice(self, step: int, size: int) -> Tensor:
        """A batch of neighbours, wandering so that every sample is seen."""
        samples = self.u.shape[2]
        first = step * size % max(1, samples - size + 1)
        return self.u[:, :, first : first + size]

    def differentiate(self, u: Tensor) -> None:
        """The gradient of each model's own loss; D's without the component along its columns."""
        E, D, d = (_gradient(parameter) for parameter in self.parameters[:3])
        f, g, errors = self.selection.select(torch.bmm(self.E, u, out=self.z)), self.g, self.errors
        for j, level in enumerate(self.levels):
            torch.bmm(self.D[:, :, level], f[:, level], out=errors[j])
            errors[j].add_(errors[j - 1]) if j else errors[j].add_(self.d[:, :, None]).sub_(u[:, : self.n_hidden])
        for j in reversed(range(len(self.levels) - 1)):
            errors[j].add_(errors[j + 1])  # a latent is answerable for the errors of all levels that it is in
        unit = 2 / (u.shape[2] * len(self.levels))
        for error, level in zip(errors, self.levels, strict=True):
            torch.baddbmm(self.half_penalty, self.D[:, :, level].transpose(1, 2), error, out=g[:, level])
            torch.bmm(error, f[:, level].transpose(1, 2), out=D[:, :, level]).mul_(unit)
        self.selection.backward(f, g, unit)
        torch.bmm(g, u.transpose(1, 2), out=E).mul_(unit)
        torch.sum(errors[0], 2, out=d).mul_(unit)
        D.sub_(self.D * (self.D * D).sum(1, keepdim=True))

    def normalise(self) -> None:
        """Bring D's columns back to norm 1, and what else is trained to where it means something."""
        self.D.div_(torch.linalg.vector_norm(self.D, dim=1, keepdim=True))
        self.selection.project()

    def revive(self, u: Tensor, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Point latents that fire on no sample of ``u`` at what is missed; see `fit`."""
        f = self.selection.select(self.E @ u)
        words = random.uniforms(self.seeds, f.shape[1], 1, step, Domain.INITIALISATION)[:, :, 0]
        drawn = torch.from_numpy(words)
        direction = torch.cat([self._missed(u, f, level, drawn[:, level]) for level in self.levels], 2)
        norm = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        # Where nothing is missed there is nothing to point at, and the latent may stay dead.
        dead = (f.amax(2) <= 0) & (norm[:, 0] > 0)
        direction /= torch.where(norm > 0, norm, 1.0)
        bias = -(direction * self.d[:, :, None]).sum(1)
        encoder = self.revived_norm * torch.cat([direction.transpose(1, 2), bias[:, :, None]], dim=2)
        self.D.copy_(torch.where(dead[:, None, :], direction, self.D))
        self.E.copy_(torch.where(dead[:, :, None], encoder, self.E))
        # With Adam's memory of the living, or none. Without any the next steps are up to 1 / sqrt(1 - beta_2) = 30
        # times as long, because its bias correction counts the steps of all.
        living = (f.amax(2) > 0).float()
        living = torch.where(living.any(1, keepdim=True), living, 1.0)
        living *= self.revived_memory / living.sum(1, keepdim=True)
        optimizer.state[self.E]["exp_avg"].masked_fill_(dead[:, :, None], 0)
        optimizer.state[self.D]["exp_avg"].masked_fill_(dead[:, None, :], 0)
        of_E, of_D = (optimizer.state[parameter]["exp_avg_sq"] for parameter in (self.E, self.D))
        of_E.copy_(torch.where(dead[:, :, None], living[:, None, :] @ of_E, of_E))
        of_D.copy_(torch.where(dead[:, None, :], of_D @ living[:, :, None], of_D))
        self.selection.revive(dead, optimizer)

    def _missed(self, u: Tensor, f: Tensor, level: slice, drawn: Tensor) -> Tensor:
        """For each latent of a level what up to there is missed of an example, ``drawn`` [model, latent] in proportion
        to its squared error squared: [model, hidden, latent], latents of the level."""
        u_hat = self.D[:, :, : level.stop] @ f[:, : level.stop] + self.d[:, :, None]
        missed = u[:, : self.n_hidden] - u_hat
        weight = missed.double().square().sum(1).square().cpu().cumsum(1)
        example = torch.searchsorted(weight, drawn.contiguous() * weight[:, -1:]).clamp(max=u.shape[2] - 1)
        return missed.gather(2, example.to(u.device)[:, None, :].expand(-1, self.n_hidden, -1))

    def dictionary(self) -> Dictionary:
        """The dictionaries as they have been learnt so far, one a model."""
        encoder, bias = self.E[:, :, : self.n_hidden].contiguous(), self.E[:, :, self.n_hidden].contiguous()
        learnt = Dictionary(self.D.clone(), encoder, bias, self.d.clone(), self.scale)
        return self.selection.finish(learnt, self._answers())

    def _answers(self) -> Iterator[Tensor]:
        """E u of up to `LOOKED_AT` batches, [model, latent, batch]."""
        batch = self.z.shape[2]
        for step in range(min(LOOKED_AT, self.u.shape[2] // batch)):
            yield torch.bmm(self.E, self.slice(step, batch))


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
