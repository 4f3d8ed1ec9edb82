"""Form: what a kernel is compiled for. The sizes and choices of one structure, and how a model of it is laid out.

Everything here follows from the structure alone, never from how many models train at once or what else differs between
them: so a model's bits do not depend on its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from toymodels.features import Features
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import HIDDEN_AXIS

MOST_TILE, LEAST_TILE = 256, 16
"""samples of a tile"""
MATRIX_UNITS = 16
"""the shortest axis of a product that they take"""
SMALL_TILE, SMALL_PRODUCT = 64, 4096
"""Products are taken number by number while a tile of so many samples makes no more terms than that."""
REGISTERS = 2**16
"""32-bit registers of a multiprocessor, of every NVIDIA GPU since 2012"""
MOST = REGISTERS * 4 // 5
"""numbers that a program may hold: beyond, compilers spill many times what registers hold (seen with Triton 3.9)"""
ROOM = REGISTERS // 4
"""numbers that a program may hold with a tile that is longer than the least: several programs share a multiprocessor"""


@dataclass(frozen=True)
class Form:
    """One structure as kernels are compiled for it. Small letters are sizes, capitals what they are filled up to."""

    n: int
    """features"""
    d: int
    """what W_in reads: features, or the rows of an embedding"""
    m: int
    """neurons"""
    o: int
    """targets"""
    N: int
    D: int
    M: int
    O: int  # noqa: E741 - the capital of o, no zero
    tile: int
    """samples"""
    warps: int
    """of 32 threads, that share a program"""
    small: bool
    """whether products are taken number by number"""
    precision: str
    """of the matrix units: "ieee" or "tf32\""""
    begins: tuple[int, ...]
    """where each parameter begins in theta, in the order of `Bottleneck.axes`"""
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    """0 of a vector"""
    filled_rows: tuple[int, ...]
    filled_columns: tuple[int, ...]
    hidden_axis: tuple[int, ...]
    """the axis of neurons, -1 where there is none"""
    size: int
    """of theta"""
    W_in: int
    """the place of each parameter in that order, -1 where it is not trained"""
    W_out: int
    b_in: int
    b_out: int
    gain: int
    bias: int
    E: int
    embedded: bool
    activation: str
    layer_norm: bool
    output: str
    target: str
    loss: str
    values: str
    signed: bool
    grouped: bool
    """whether a word decides for several features"""
    optimizer: str

    @property
    def binary(self) -> bool:
        """Whether an active feature is 1, or -1."""
        return self.values == "binary"

    @property
    def held_throughout(self) -> int:
        """How many numbers a program holds from tile to tile: weights and their gradient, what is fixed beside them."""
        shapes = zip(self.filled_rows, self.filled_columns, strict=True)
        weights = sum(rows * max(columns, 1) for rows, columns in shapes)
        embedding = self.D * self.N if self.embedded and self.E < 0 else 0
        rotation = self.M * self.M if self.optimizer == "rotated_adam" else 0
        return 2 * weights + embedding + rotation

    @property
    def rows_of_tile(self) -> int:
        """Rows of numbers that a tile takes at once.

        x and its words; what W_in reads and its slope; what the hidden layer leaves for the way back; t, the read-out
        and its slope, and of pairs the members.
        """
        embedding, pairs = 2 * self.D * self.embedded, 2 * self.O * (self.target == "and")
        return 2 * self.N + embedding + 6 * self.M + 3 * self.O + pairs

    @property
    def held(self) -> int:
        """How many numbers a program holds while it goes through a tile, at least."""
        return self.held_throughout + self.tile * self.rows_of_tile


def form_of(experiment: Experiment, precision: str = "ieee") -> Form:
    """The form of an experiment's structure."""
    f, b, recipe = experiment.features, experiment.bottleneck, experiment.training
    assert isinstance(f, Features)
    embedding = b.embedding
    n, m, o = f.n, b.hidden, experiment.n_targets
    sizes = {"feature": n, "embedding": 0 if embedding is None else embedding.size, "hidden": m, "target": o}
    powers = {axis: _power(size) for axis, size in sizes.items()}
    inputs = "embedding" if embedding else "feature"
    largest = max(powers["hidden"] * max(powers[inputs], powers["target"]), powers["embedding"] * powers["feature"])
    small = largest * SMALL_TILE <= SMALL_PRODUCT
    filled = {axis: size if small else max(size, MATRIX_UNITS) for axis, size in powers.items()}
    shapes = [[sizes[axis] for axis in axes] for axes in b.axes.values()]
    up = [[filled[axis] for axis in axes] for axes in b.axes.values()]
    lengths = [math.prod(shape) for shape in shapes]
    place = {name: i for i, name in enumerate(b.axes)}
    form = Form(
        n=n,
        d=sizes[inputs],
        m=m,
        o=o,
        N=filled["feature"],
        D=filled[inputs],
        M=filled["hidden"],
        O=filled["target"],
        tile=LEAST_TILE,
        warps=1,
        small=small,
        precision=precision,
        begins=tuple(sum(lengths[:i]) for i in range(len(lengths))),
        rows=tuple(shape[0] for shape in shapes),
        columns=tuple(shape[1] if len(shape) > 1 else 0 for shape in shapes),
        filled_rows=tuple(shape[0] for shape in up),
        filled_columns=tuple(shape[1] if len(shape) > 1 else 0 for shape in up),
        hidden_axis=tuple(HIDDEN_AXIS.get(name, 0) - 1 for name in b.axes),
        size=sum(lengths),
        W_in=place["W_in"],
        W_out=place.get("W_out", -1),
        b_in=place.get("b_in", -1),
        b_out=place.get("b_out", -1),
        gain=place.get("ln_gain", -1),
        bias=place.get("ln_bias", -1),
        E=place.get("E", -1),
        embedded=embedding is not None,
        activation=b.activation.name,
        layer_norm=b.layer_norm is not None,
        output=b.output.name,
        target=experiment.target.name,
        loss=experiment.cost.name,
        values=f.values.name,
        signed=f.signed,
        grouped=f.firing.member(n) is not None,
        optimizer=recipe.optimizer.name,
    )
    fits = SMALL_TILE if small else (ROOM - form.held_throughout) // form.rows_of_tile
    tile = min(MOST_TILE, _power(recipe.batch), 1 << max(0, fits).bit_length() >> 1)
    form = replace(form, tile=max(LEAST_TILE, tile))
    return replace(form, warps=_warps(form.held))


def _power(size: int) -> int:
    """The least power of two that is not below a size."""
    return 1 << max(0, size - 1).bit_length()


def _warps(held: int) -> int:
    """Warps for a program that holds so many numbers: where 8 are not too many, a thread holds 80 of them at most.

    It has 255 registers, and what is on the way takes the rest.
    """
    return next((warps for warps in (1, 2, 4) if held <= warps * 32 * 80), 8)
