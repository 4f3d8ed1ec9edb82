"""Learning: dictionaries trained side by side, one a model, with gradients by hand and dead latents revived.

Words come from domain ``INITIALISATION``, whose step 0 is the models' own start: step `START` is a dictionary's, and
the r-th revival of dead latents is step `START` + r. Dictionaries of one seed share them, as at several penalties or
several taps of one model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from toymodels import random
from toymodels.metrics.dictionaries.dictionary import L1, Dictionary, TopK, sparse
from toymodels.random import Domain
from toymodels.surroundings import undisturbed

START = 1
REVIVALS = 10
POOL = 4096
"""samples on none of which a latent fires that is dead"""
BETAS = (0.0, 0.999)
"""Adam's. No momentum: more latents live, as one that has stopped firing does not drift on."""
DECAY = 0.2
"""the share of the steps over which the rate falls to 0"""


@undisturbed
def fit(
    activations: Tensor,
    kind: L1 | TopK,
    latents: int,
    seeds: Sequence[int],
    steps: int = 2000,
    batch: int = 512,
    learning_rate: float = 2e-3,
) -> Dictionary:
    """Train one dictionary a model on ``activations [model, hidden, sample]``, whose samples are independent.

    Minibatches are neighbouring samples, over and over. Adam, its rate falling linearly to 0 over the last fifth; D's
    columns are kept at norm 1, their gradient freed of what would change it (Bricken et al. 2023). E starts at D^T,
    times hidden / latents with `L1`. `REVIVALS` times in the first half, latents that fire on none of the latest `POOL`
    samples are *revived*: pointed at what an example of their model still misses, drawn in proportion to its squared
    error squared, with an encoder of norm .2 (`L1`) or 1 (`TopK`). After Bricken et al. 2023, who point at the example
    itself. float32, on the CPU.
    """
    if not isinstance(kind, L1 | TopK):
        raise TypeError(f"kind: expected L1 or TopK, such as TopK(4), got {kind!r:.60}")
    n_models, _, samples = activations.shape
    if len(seeds) != n_models:
        raise ValueError(f"seeds: expected one for each of {n_models} models, got {len(seeds)}")
    if min(latents, samples, steps, batch) < 1:
        got = f"{latents}, {samples}, {steps}, {batch}"
        raise ValueError(f"expected at least one latent, sample, step and example a batch, got {got}")
    learner = Learner(activations, kind, latents, np.asarray(seeds, dtype=np.int64), min(batch, samples))
    optimizer = torch.optim.Adam(learner.parameters, lr=learning_rate, betas=BETAS, fused=True)
    every = max(1, steps // (2 * REVIVALS))
    for step in range(steps):
        learner.differentiate(learner.slice(step, batch))
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (steps - step) / (DECAY * steps))
        optimizer.step()
        learner.normalise()
        revival, due = divmod(step + 1, every)
        if due == 0 and 2 * (step + 1) <= steps:
            learner.revive(learner.slice(step, POOL), START + revival, optimizer)
    return learner.dictionary()


class Learner:
    """The parameters in training, their gradients by hand, and room for a step's intermediates.

    By hand because the intermediates are then written in place: new memory for each costs ten times the product.
    """

    def __init__(self, activations: Tensor, kind: L1 | TopK, latents: int, seeds: np.ndarray, batch: int) -> None:
        n_models, n_hidden, samples = activations.shape
        self.seeds, self.n_hidden = seeds, n_hidden
        rms = activations.float().square().sum(1).mean(1).sqrt()
        self.scale = torch.where(rms > 0, rms, 1.0)
        # A last coordinate that is always 1 makes the encoder's bias a column of its weights.
        self.u = torch.ones(n_models, n_hidden + 1, samples)
        torch.div(activations, self.scale[:, None, None], out=self.u[:, :n_hidden])
        start = ndtri(random.uniforms(seeds, latents, n_hidden, START, Domain.INITIALISATION))
        self.D = torch.from_numpy(start).transpose(1, 2).float().contiguous()
        self.normalise()
        # With L1 every latent answers: together they must not overshoot u, or many stay on for good. A top-k latent
        # answers only where it is among the largest, so it starts large and, revived, moves fast.
        competing = isinstance(kind, TopK)
        norm, self.revived_norm, self.revived_memory = (
            (1.0, 1.0, 0.0) if competing else (min(1.0, n_hidden / latents), 0.2, 1.0)
        )
        self.E = torch.cat([norm * self.D.transpose(1, 2), torch.zeros(n_models, latents, 1)], dim=2)
        self.d = torch.zeros(n_models, n_hidden)
        self.parameters = [self.E, self.D, self.d]
        for parameter in self.parameters:
            parameter.grad = torch.empty_like(parameter)
        self.k, self.half_penalty = None, torch.zeros(n_models, 1, 1)
        if isinstance(kind, TopK):
            self.k = torch.tensor(kind.k).expand(n_models).clamp(max=latents).contiguous()
        else:
            self.half_penalty = torch.tensor(kind.penalty).expand(n_models)[:, None, None] / 2
        self.f, self.g = torch.empty(2, n_models, latents, batch)
        self.error = torch.empty(n_models, n_hidden, batch)

    def slice(self, step: int, size: int) -> Tensor:
        """A batch of neighbours, wandering so that every sample is seen."""
        samples = self.u.shape[2]
        first = step * size % max(1, samples - size + 1)
        return self.u[:, :, first : first + size]

    def differentiate(self, u: Tensor) -> None:
        """The gradient of each model's own loss; D's without the component along its columns."""
        batch = u.shape[2]
        E, D, d = (_gradient(parameter) for parameter in self.parameters)
        f = sparse(torch.bmm(self.E, u, out=self.f), self.k)
        error = torch.bmm(self.D, f, out=self.error).add_(self.d[:, :, None]).sub_(u[:, : self.n_hidden])
        g = torch.baddbmm(self.half_penalty, self.D.transpose(1, 2), error, out=self.g)
        torch.ops.aten.threshold_backward.grad_input(g, f, 0, grad_input=g)  # zero where the latent is off
        torch.bmm(g, u.transpose(1, 2), out=E).mul_(2 / batch)
        torch.bmm(error, f.transpose(1, 2), out=D).mul_(2 / batch)
        torch.sum(error, 2, out=d).mul_(2 / batch)
        D.sub_(self.D * (self.D * D).sum(1, keepdim=True))

    def normalise(self) -> None:
        """Bring D's columns back to norm 1."""
        self.D.div_(torch.linalg.vector_norm(self.D, dim=1, keepdim=True))

    def revive(self, u: Tensor, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Point latents that fire on no sample of ``u`` at what is missed; see `fit`."""
        f = sparse(self.E @ u, self.k)
        missed = u[:, : self.n_hidden] - (self.D @ f + self.d[:, :, None])
        weight = missed.double().square().sum(1).square().cumsum(1)
        drawn = random.uniforms(self.seeds, f.shape[1], 1, step, Domain.INITIALISATION)[:, :, 0]
        example = torch.searchsorted(weight, torch.from_numpy(drawn) * weight[:, -1:]).clamp(max=u.shape[2] - 1)
        direction = missed.gather(2, example[:, None, :].expand(-1, self.n_hidden, -1))
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
        optimizer.state[self.E]["exp_avg"][dead] = 0
        optimizer.state[self.D]["exp_avg"].transpose(1, 2)[dead] = 0
        of_E, of_D = (optimizer.state[parameter]["exp_avg_sq"] for parameter in (self.E, self.D))
        of_E.copy_(torch.where(dead[:, :, None], living[:, None, :] @ of_E, of_E))
        of_D.copy_(torch.where(dead[:, None, :], of_D @ living[:, :, None], of_D))

    def dictionary(self) -> Dictionary:
        """The dictionaries as they have been learnt so far, one a model."""
        encoder, bias = self.E[:, :, : self.n_hidden].contiguous(), self.E[:, :, self.n_hidden].contiguous()
        return Dictionary(self.D.clone(), encoder, bias, self.d.clone(), self.scale, self.k)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
