"""A synthetic language with planted latents: text of which it is known what is going on at every position.

    log P(token v | token u before it, latents z) = A_uv + sum_i z_i B_iv + constant
    z_i(position): a chain of two states, off and on; on in a share ``density`` of positions, for ``run`` on average

A, normal with deviation ``order``, makes the language one of Markov; B is ``strength`` on the ``topic`` tokens of each
latent, drawn for it, and 0 elsewhere: while a latent is on its tokens are likely. Nobody sees latents but through the
tokens: whoever foretells the text must keep account of them. The sizes are such that there are more latents and tokens
than dimensions of a small residual stream.

A token is argmax_v (log P + g_v) with g of Gumbel's distribution (the same as to draw it of P), so that one can ask
what the *same* text had been with a latent never on: the same g, and other P (Oberst and Sontag 2019, *Counterfactual
Off-Policy Evaluation with Gumbel-Max Structural Causal Models*). All of it is of the stream (`toymodels.random`) of
``seed``, which is the language's and its texts'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from toymodels import random
from toymodels.checks import SEED, Number, Whole, setting, settle
from toymodels.random import Domain
from toymodels.surroundings import undisturbed


@dataclass(frozen=True)
class Text:
    """Sequences of a language, and what was going on."""

    tokens: np.ndarray
    """int64 [sequence, position]"""
    latents: np.ndarray
    """which are on: bool [latent, sequence, position]"""


@dataclass(frozen=True)
class Language:
    """A language of so many tokens and latents; see the module."""

    seed: int = field(default=0, metadata=setting(SEED, "of the language, and of its texts"))
    tokens: int = field(default=50, metadata=setting(Whole(2, 10**4), "how many tokens there are"))
    latents: int = field(default=16, metadata=setting(Whole(1, 10**3), "how many latents there are"))
    topic: int = field(default=6, metadata=setting(Whole(1, 10**4), "how many tokens a latent makes likely"))
    strength: float = field(default=6.0, metadata=setting(Number(), "what a latent adds to the logits of its tokens"))
    order: float = field(
        default=1.0, metadata=setting(Number(least=0), "deviation of the logits of a token, given another")
    )
    density: float = field(
        default=0.05, metadata=setting(Number(above=0, below=1), "share of positions in which a latent is on")
    )
    run: float = field(default=16.0, metadata=setting(Number(least=1), "positions for which it stays on, on average"))

    def __post_init__(self) -> None:
        settle(self)
        if self.topic > self.tokens:
            raise ValueError(f"topic: expected at most as many as there are tokens, {self.tokens}, got {self.topic}")
        most = self.run / (self.run + 1)
        if self.density > most:
            raise ValueError(
                f"density: expected at most {most:g} with runs of {self.run:g} positions, got {self.density}"
            )

    @cached_property
    def transitions(self) -> np.ndarray:
        """A, float64 [token before, token]."""
        return self.order * ndtri(self._uniforms(self.tokens, self.tokens, 0, Domain.EMBEDDING))

    @cached_property
    def topics(self) -> np.ndarray:
        """B, float64 [latent, token]."""
        order = self._uniforms(self.latents, self.tokens, 1, Domain.EMBEDDING).argsort(1)
        added = np.zeros((self.latents, self.tokens))
        np.put_along_axis(added, order[:, : self.topic], self.strength, 1)
        return added

    def text(self, sequences: int, length: int, *, evaluation: bool = True, without: int | None = None) -> Text:
        """The first sequences of the training or evaluation text; the same with one latent never on, if it is named."""
        firing, data = (Domain.EVALUATION_FIRING, Domain.EVALUATION) if evaluation else (Domain.FIRING, Domain.DATA)
        on = np.zeros((self.latents, sequences), dtype=bool)
        latents = np.zeros((self.latents, sequences, length), dtype=bool)
        tokens = np.zeros((sequences, length), dtype=np.int64)
        ends = 1 / self.run
        begins = self.density / (1 - self.density) * ends
        for position in range(length):
            u = self._uniforms(self.latents, sequences, position, firing)
            on = u < (self.density if position == 0 else np.where(on, 1 - ends, begins))
            latents[:, :, position] = on
            if without is not None:
                latents[without, :, position] = False
            logits = self.topics.T @ latents[:, :, position]
            if position:
                logits = logits + self.transitions[tokens[:, position - 1]].T
            gumbel = -np.log(-np.log(self._uniforms(self.tokens, sequences, position, data)))
            tokens[:, position] = (logits + gumbel).argmax(0)
        return Text(tokens, latents)

    @undisturbed
    def _uniforms(self, rows: int, columns: int, step: int, domain: Domain) -> np.ndarray:
        return random.uniforms(np.array([self.seed], dtype=np.int64), rows, columns, step, domain)[0]
