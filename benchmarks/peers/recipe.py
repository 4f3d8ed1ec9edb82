"""The standard recipe: how researchers train toy models with an instance axis.

Instance-axis einsum, dense uniform draws, an eager AdamW: the recipe of the notebook of Elhage et al. 2022 (*Toy
Models of Superposition*), written here. Data are ``[batch, model, feature]``. `Compiled` is the same under
`torch.compile`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.workload import Workload

HIDDEN: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "gelu": F.gelu,
    "solu": lambda z: z * torch.softmax(z, -1),
}


class Recipe:
    """Eager PyTorch."""

    name = "recipe"

    def __init__(self, workload: Workload, density: float, device: str = "cpu") -> None:
        w = self.workload = workload
        self.device = device
        self._density = torch.zeros((), device=device)
        self.density = density
        if w.embedding:
            self.E = F.normalize(torch.randn(w.models, w.n, w.embedding, device=device), dim=-1)
            W_in = torch.randn(w.models, w.embedding, w.m, device=device) / w.embedding**0.5
            W_out = torch.randn(w.models, w.n, w.m, device=device) / w.m**0.5
        else:
            W_in = torch.randn(w.models, w.n, w.m, device=device) / w.m**0.5
            W_out = W_in.clone()
        self.W_in = torch.nn.Parameter(W_in)
        self.W_out = self.W_in if w.tied else torch.nn.Parameter(W_out)
        self.b_in = torch.nn.Parameter(torch.zeros(w.models, w.m, device=device))
        self.b_out = torch.nn.Parameter(torch.zeros(w.models, w.n, device=device))
        self.gain = torch.nn.Parameter(torch.ones(w.models, w.m, device=device))
        self.bias = torch.nn.Parameter(torch.zeros(w.models, w.m, device=device))
        parameters = [self.W_in, self.b_out]
        parameters += [] if w.tied else [self.W_out]
        parameters += [self.b_in] if w.embedding else []
        parameters += [self.gain, self.bias] if w.layer_norm else []
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)

    @property
    def density(self) -> float:
        """May be changed at any time: a tensor to whoever compiles."""
        return self._density.item()

    @density.setter
    def density(self, value: float) -> None:
        self._density.fill_(value)

    def losses(self) -> Tensor:
        """Batch losses of fresh data, [model]."""
        w = self.workload
        if w.embedding:
            x = (torch.rand(w.batch, w.models, w.n, device=self.device) <= self._density).float()
            pre = torch.einsum("bid,idh->bih", torch.einsum("bif,ifd->bid", x, self.E), self.W_in) + self.b_in
        else:
            value = torch.rand(w.batch, w.models, w.n, device=self.device)
            if w.absolute:
                value = 2 * value - 1
            x = torch.where(torch.rand(w.batch, w.models, w.n, device=self.device) <= self._density, value, 0.0)
            pre = torch.einsum("bif,ifh->bih", x, self.W_in)
        hidden = HIDDEN[w.activation](pre)
        if w.layer_norm:
            hidden = F.layer_norm(hidden, (w.m,)) * self.gain + self.bias
        out = torch.einsum("bih,ifh->bif", hidden, self.W_out) + self.b_out
        if w.cross_entropy:
            return F.binary_cross_entropy_with_logits(out, x, reduction="none").sum(2).mean(0)
        if not w.embedding:
            out = torch.relu(out)
        return ((x.abs() if w.absolute else x) - out).square().sum(2).mean(0)

    def run(self, steps: int) -> Tensor:
        """Train on; the losses of the last step."""
        losses = torch.zeros(0)
        for _ in range(steps):
            losses = self.losses()
            self.optimizer.zero_grad()
            losses.sum().backward()
            self.optimizer.step()
        return losses.detach()

    def close(self) -> None:
        """Nothing is held."""


class Compiled(Recipe):
    """The recipe with its losses, their backward pass and the optimizer under `torch.compile`."""

    name = "torch.compile"

    def __init__(self, workload: Workload, density: float, device: str = "cpu") -> None:
        super().__init__(workload, density, device)
        self.losses = torch.compile(super().losses)
        self.optimizer.step = torch.compile(self.optimizer.step)

    def close(self) -> None:
        """Forget what was compiled, or the next workload is compiled for shapes in general."""
        torch.compiler.reset()


class Graphed(Recipe):
    """The recipe with draw, losses, their backward pass and the optimizer recorded as one CUDA graph.

    As PyTorch's notes on CUDA semantics have it: steps on a side stream first, gradients that belong to the graph, and
    an optimizer that counts its steps on the device.
    """

    name = "CUDA graph"
    WARM_UP = 3

    def __init__(self, workload: Workload, density: float, device: str = "cuda") -> None:
        super().__init__(workload, density, device)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, weight_decay=0.0, capturable=True)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.last = torch.zeros(0)

    def run(self, steps: int) -> Tensor:
        """Train on; the losses of the last step. The first call takes `WARM_UP` steps more."""
        graph = self.graph = self.graph or self._record()
        for _ in range(steps):
            graph.replay()
        return self.last.clone()

    def _record(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            super().run(self.WARM_UP)
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self.losses()
            losses.sum().backward()
            self.optimizer.step()
            self.last = losses.detach()
        return graph

    def close(self) -> None:
        """Let go of the graph and its memory."""
        self.graph = None
