"""The fused engine: draw, forward, backward and update in one compiled kernel, each model by itself, on CPU threads.

A model and its data fit in a core's cache, so a run stays there from its first step to its last; nothing of the size of
a batch is ever written to memory. Models are independent, hence bit for bit the same alone, in any batch, on any number
of threads, and whatever else trains beside them. What is computed is what `toymodels.training.autograd` computes, on
the same data, in float32.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import heappop, heappush
from threading import Condition, Thread, local

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toymodels.activations import ELU, Activation, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck, Parameters, initialise
from toymodels.features import Features, Sampler
from toymodels.firing import Anticorrelated, Correlated, Firing, Independent, One
from toymodels.kernels import draw, layers, products, steps, update
from toymodels.kernels.bottleneck import PART, Shape, Work, aligned, workspace
from toymodels.kernels.steps import State
from toymodels.kernels.update import Rule
from toymodels.objectives import AbsoluteValue, Identity, Target
from toymodels.rotations import haar
from toymodels.training.contract import CEILING, OnProgress, OnStep, Unsupported
from toymodels.training.experiment import Experiment, check_one_structure, sampler
from toymodels.training.memory import OutOfMemory
from toymodels.training.optimizers import SGD, Adam, Optimizer, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.training.trained import Trained
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues, Values

ACTIVATIONS: dict[type[Activation], int] = {
    Linear: layers.LINEAR,
    ReLU: layers.RELU,
    GeLU: layers.GELU,
    SoLU: layers.SOLU,
    SiLU: layers.SILU,
    ELU: layers.ELU,
    XExp: layers.XEXP,
}
OUTPUTS: dict[type[Activation], int] = {Linear: 0, ReLU: 1}
TARGETS: dict[type[Target], int] = {Identity: 0, AbsoluteValue: 1}
VALUES: dict[type[Values], int] = {
    UniformValues: draw.UNIFORM,
    Binary: draw.BINARY,
    FoldedNormal: draw.FOLDED_NORMAL,
    Exponential: draw.EXPONENTIAL,
}
FIRINGS: dict[type[Firing], int] = {Independent: 0, One: 1, Correlated: 1, Anticorrelated: 1}
OPTIMIZERS: dict[type[Optimizer], int] = {Adam: update.ADAM, SGD: update.SGD, RotatedAdam: update.ROTATED_ADAM}

CALL_SECONDS = 0.1
"""About how long a kernel runs before Python is asked whether to go on: Ctrl-C is heard within a second."""
TASKS_A_THREAD = 8
WIDE_FLOP = 1e8
"""Work of a step from which its parts are worth waking other threads for: a millisecond, a hundred times the waking."""
NEVER = np.iinfo(np.int64).max


def unsupported(experiment: Experiment) -> str | None:
    """Why this engine cannot train this experiment, in a sentence, or None if it can."""
    f, b, t = experiment.features, experiment.bottleneck, experiment.training
    parts: tuple[tuple[str, object, dict], ...] = (
        ("activation", b.activation, ACTIVATIONS),
        ("output", b.output, OUTPUTS),
        ("target", experiment.target, TARGETS),
        ("value law", f.values, VALUES),
        ("firing law", f.firing, FIRINGS),
        ("optimizer", t.optimizer, OPTIMIZERS),
    )
    for what, part, known in parts:
        if type(part) not in known:
            names = ", ".join(each.name for each in known)
            name = getattr(part, "name", "")
            named = f"'{name}' of class {type(part).__name__}" if name in names.split(", ") else f"'{name}'"
            return f"the fused engine has no kernel for {what} {named} (it has {names}): use engine autograd"
    return None


def train(
    experiments: Sequence[Experiment],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_step: OnStep | None = None,
) -> Trained:
    """Train models of one structure, on as many threads as torch is set to use.

    Raises `Unsupported`, a ``ValueError``, for what this engine has no kernel for.
    """
    if device != "cpu" or dtype != torch.float32:
        raise Unsupported(f"the fused engine computes in float32 on a cpu, not in {dtype} on {device}")
    check_one_structure(experiments)
    steps_a_model = experiments[0].training.steps / len(experiments)
    advanced = (lambda models: on_step(steps_a_model * models)) if on_step else None
    (trained,) = train_each([experiments], advanced)
    if isinstance(trained, OutOfMemory):
        raise trained
    return trained


def train_each(
    batches: Iterable[Sequence[Experiment]], on_progress: OnProgress | None = None, budget: int | None = None
) -> Iterator[Trained | OutOfMemory]:
    """Train several batches, each of one structure; the next one begins as soon as a thread is free.

    Batches are asked for when there is room for them and returned in their order; one that does not fit into ``budget``
    bytes is returned as the reason.
    """
    yield from _Crew(torch.get_num_threads(), budget).train_each(iter(batches), on_progress)


def prepare(wide: bool = False) -> None:
    """Compile the kernels, or load them: those of few models on many threads if ``wide``, else those of many models.

    Interrupting this is heard at once.
    """
    tiny = Experiment(Features(1, 0.5), Bottleneck(1), Training(steps=1, batch=1))

    def compile_all() -> None:
        batch = Batch.of([tiny])
        arguments = batch.arguments(workspace(batch.shape))
        if wide:
            steps.part_gradient(*arguments, 0, 1, 0)
            steps.add_part(batch.shape, 0, arguments[-1], arguments[-1])
            steps.finish_step(*arguments, 0, 1, np.float32(0))
        else:
            steps.train(*arguments, 0, 1, 1, 2)

    if (steps.part_gradient if wide else steps.train).signatures:
        return
    thread = Thread(target=compile_all, daemon=True)  # abandoned, not waited for, where the program is to end
    thread.start()
    while thread.is_alive():
        thread.join(CALL_SECONDS)


def bytes_needed(experiments: Sequence[Experiment]) -> int:
    """The memory that training these models takes, apart from a few rows a thread: never a batch."""
    total = 0
    for e in experiments:
        shape, t = shape_of(e), e.training
        total += 4 * (shape.size * (4 + t.snapshots) + 8 * shape.n + t.curve_points)
    return total


@dataclass(order=True)
class _Task:
    """Some models of a batch on their way. The order is that of need: the earlier batch, then the fewest steps done."""

    number: int
    t: int
    first: int
    last: int
    at_once: int = field(default=1, compare=False)


@dataclass
class _UnderWay:
    """A batch that was handed to the threads, or why it was not."""

    batch: Batch | None
    refused: OutOfMemory | None = None
    open_tasks: int = 0
    wide: bool = False

    def result(self) -> Trained | OutOfMemory:
        """What became of it, once no task is open."""
        assert self.batch or self.refused
        return self.batch.trained() if self.batch else self.refused or OutOfMemory()


class _Crew:
    """Threads that train: each takes the neediest task for a slice of time, so that all of a batch end together."""

    def __init__(self, threads: int, budget: int | None = None) -> None:
        self.threads, self.budget = threads, budget
        self.tasks: list[_Task] = []
        self.under_way: dict[int, _UnderWay] = {}
        self.changed = Condition()
        self.stop, self.own = False, local()
        self.progress: deque[float] = deque()
        self.failure: BaseException | None = None

    def train_each(
        self, batches: Iterator[Sequence[Experiment]], on_progress: OnProgress | None
    ) -> Iterator[Trained | OutOfMemory]:
        """See the function of this name."""
        begun, returned, more = 0, 0, True
        threads = [Thread(target=self._work) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        try:
            while True:
                while more and self._idle_soon():
                    experiments = next(batches, None)
                    more = experiments is not None
                    if experiments is not None:
                        self._begin(begun, experiments)
                        begun += 1
                if returned == begun:
                    return
                self._await(returned, on_progress)
                yield self.under_way.pop(returned).result()
                returned += 1
        finally:
            with self.changed:
                self.stop = True
                self.changed.notify_all()
            for thread in threads:
                thread.join()

    def _idle_soon(self) -> bool:
        return sum(each.open_tasks for each in self.under_way.values()) < 2 * self.threads

    def _begin(self, number: int, experiments: Sequence[Experiment]) -> None:
        """Hand a batch to the threads."""
        check_one_structure(experiments)
        if reason := unsupported(experiments[0]):
            raise Unsupported(reason)
        prepare()
        under_way = _UnderWay(None)
        needed = bytes_needed(experiments)
        if self.budget is not None and needed > self.budget:
            reason = f"it needs about {needed / 2**20:,.0f} MiB, the budget is {self.budget / 2**20:,.0f} MiB"
            under_way.refused = OutOfMemory(f"a batch of {len(experiments)} does not fit in memory: {reason}")
        else:
            try:
                under_way.batch = Batch.of(experiments)
            except MemoryError as error:
                under_way.refused = OutOfMemory(f"a batch of {len(experiments)} does not fit in memory: {error}")
        with self.changed:
            self.under_way[number] = under_way
            if under_way.batch:
                count = len(under_way.batch)
                under_way.wide = count < self.threads and under_way.batch.step_flop() > WIDE_FLOP
                at_once = 1 if under_way.wide else -(-count // (TASKS_A_THREAD * self.threads))
                for first in range(0, count, at_once):
                    heappush(self.tasks, _Task(number, 1, first, min(count, first + at_once)))
                    under_way.open_tasks += 1
            self.changed.notify_all()
        if under_way.wide:
            prepare(wide=True)

    def _await(self, number: int, on_progress: OnProgress | None) -> None:
        """Until a batch is done; says how far all are, here on the caller's thread, which alone hears signals."""
        while True:
            with self.changed:
                if self.under_way[number].open_tasks and not self.failure:
                    self.changed.wait(CALL_SECONDS)
                done = not self.under_way[number].open_tasks
            if self.failure:
                raise self.failure
            advanced = sum(self.progress.popleft() for _ in range(len(self.progress)))
            if on_progress and advanced:
                on_progress(advanced)
            if done:
                return

    def _work(self) -> None:
        """What a thread does: slices of the neediest task, until there is nothing more to come."""
        while True:
            with self.changed:
                while not self.tasks and not self.stop:
                    self.changed.wait()
                if self.stop:
                    return
                task = heappop(self.tasks)
                under_way = self.under_way[task.number]
            try:
                assert under_way.batch
                (self._wide_slice if under_way.wide else self._slice)(under_way.batch, task)
                open_still = task.t < under_way.batch.rule.steps + 2
            except BaseException as error:
                self.failure, open_still = error, False
            with self.changed:
                if open_still:
                    heappush(self.tasks, task)
                else:
                    under_way.open_tasks -= 1
                    self.changed.notify_all()

    def _slice(self, batch: Batch, task: _Task) -> None:
        """Some steps of some models, in one short kernel call."""
        until = min(batch.rule.steps + 2, task.t + task.at_once)
        begin = time.perf_counter()
        steps.train(*batch.arguments(self._workspace(batch.shape)), task.first, task.last, task.t, until)
        taken = time.perf_counter() - begin
        self._advance(batch, task, until)
        task.at_once = max(1, min(4 * task.at_once, int(task.at_once * CALL_SECONDS / max(taken, 1e-6))))

    def _wide_slice(self, batch: Batch, task: _Task) -> None:
        """A step of one model, its parts on all threads; added up in order, so nothing differs."""
        model, t = task.first, task.t
        works = self._wide_workspaces(batch.shape)
        if t > batch.rule.steps or batch.state.diverged_step[model]:
            steps.train(*batch.arguments(works[0]), model, model + 1, t, t + 1)
        else:
            loss, parts = np.float32(0), range(0, batch.shape.batch, PART)
            for begin in range(0, len(parts), len(works)):
                wave = list(zip(parts[begin : begin + len(works)], works, strict=False))
                sums = [
                    self.own.helpers.submit(steps.part_gradient, *batch.arguments(work), model, t, first)
                    for first, work in wave
                ]
                for (first, work), part in zip(wave, sums, strict=True):
                    loss += np.float32(part.result())
                    steps.add_part(batch.shape, first, works[0], work)
            steps.finish_step(*batch.arguments(works[0]), model, t, loss)
        self._advance(batch, task, t + 1)

    def _workspace(self, shape: Shape) -> Work:
        """This thread's room for models of this shape, made once."""
        if getattr(self.own, "shape", None) != shape:
            self.own.shape, self.own.work = shape, workspace(shape)
        return self.own.work

    def _wide_workspaces(self, shape: Shape) -> list[Work]:
        """This thread's room for parts at once, and the threads that help with them."""
        if getattr(self.own, "wide_shape", None) != shape:
            self.own.wide_shape = shape
            self.own.works = [workspace(shape) for _ in range(self.threads)]
            self.own.helpers = ThreadPoolExecutor(self.threads)
        return self.own.works

    def _advance(self, batch: Batch, task: _Task, until: int) -> None:
        steps_done = min(until, batch.rule.steps + 1) - task.t
        self.progress.append((task.last - task.first) * steps_done / batch.rule.steps)
        task.t = until


@dataclass(frozen=True)
class Batch:
    """Models of one structure as the kernels see them."""

    experiments: tuple[Experiment, ...]
    shape: Shape
    source: draw.Source
    rule: Rule
    state: State
    start: Parameters

    @staticmethod
    def of(experiments: Sequence[Experiment]) -> Batch:
        """Everything that the kernels need, with the models at their start."""
        data, shape = sampler(experiments), shape_of(experiments[0])
        start = initialise([e.bottleneck for e in experiments], data)
        return Batch(
            experiments=tuple(experiments),
            shape=shape,
            source=source_of(data),
            rule=_rule(experiments, data),
            state=_state(experiments, shape, start),
            start=start,
        )

    def __len__(self) -> int:
        return len(self.experiments)

    def arguments(self, work: Work) -> tuple:
        """What every kernel of `steps` takes first."""
        return self.shape, self.source, self.rule, self.state, work

    def step_flop(self) -> float:
        """Of one model: five products."""
        return 10.0 * self.shape.n * self.shape.m * self.shape.batch

    def trained(self) -> Trained:
        """The models as they are now."""
        recipe, state = self.experiments[0].training, self.state
        names = self.start.trained()
        snapshots = {name: tensor for name, tensor in unpack(self.shape, state.snapshots).items() if name in names}
        return Trained(
            experiments=self.experiments,
            parameters=Parameters(**unpack(self.shape, state.theta), ln_eps=self.start.ln_eps),
            curve_step=recipe.curve_steps(),
            curve=torch.from_numpy(state.curve),
            diverged_step=torch.from_numpy(state.diverged_step),
            snapshot_step=recipe.snapshot_steps(),
            snapshots=snapshots if len(recipe.snapshot_steps()) else {},
            sub_batches=(len(self),),
        )


def shape_of(experiment: Experiment) -> Shape:
    """The sizes, the layout of theta and the codes of an experiment's structure."""
    b, n, m = experiment.bottleneck, experiment.features.n, experiment.bottleneck.hidden
    pitch, affine = products.pitch(m), b.layer_norm is not None and b.layer_norm.affine
    matrix, size = products.padded(n) * pitch, 0
    begins: dict[str, int] = {}
    for name, length, there in (
        ("W_in", matrix, True),
        ("W_out", matrix, not b.tied),
        ("b_in", pitch, b.hidden_bias),
        ("b_out", n, b.output_bias),
        ("gain", pitch, affine),
        ("bias", pitch, affine),
    ):
        begins[name] = size if there else -1
        size += length if there else 0
    if b.tied:
        begins["W_out"] = begins["W_in"]
    return Shape(
        n=n,
        m=m,
        pitch=pitch,
        batch=experiment.training.batch,
        **begins,
        size=-(-size // 16) * 16,
        activation=ACTIVATIONS[type(b.activation)],
        layer_norm=int(b.layer_norm is not None),
        relu_output=OUTPUTS[type(b.output)],
        absolute_target=TARGETS[type(experiment.target)],
    )


def _views(shape: Shape, theta: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters inside ``theta [..., parameter]``, by name and in the order of axes of `Parameters`."""

    def vector(begin: int, size: int) -> np.ndarray:
        return theta[..., begin : begin + size]

    def matrix(begin: int) -> np.ndarray:
        rows = products.padded(shape.n)
        whole = vector(begin, rows * shape.pitch).reshape(*theta.shape[:-1], rows, shape.pitch)
        return whole[..., : shape.n, : shape.m]

    views = {"W_in": np.swapaxes(matrix(shape.W_in), -1, -2)}
    if shape.W_out != shape.W_in:
        views["W_out"] = matrix(shape.W_out)
    for name, begin, size in (
        ("b_in", shape.b_in, shape.m),
        ("b_out", shape.b_out, shape.n),
        ("ln_gain", shape.gain, shape.m),
        ("ln_bias", shape.bias, shape.m),
    ):
        if begin >= 0:
            views[name] = vector(begin, size)
    return views


def pack(shape: Shape, parameters: Parameters) -> np.ndarray:
    """Parameters as ``theta [model, parameter]``."""
    theta = aligned(len(parameters.W_in) * shape.size).reshape(-1, shape.size)
    tensors = parameters.trained()
    for name, view in _views(shape, theta).items():
        view[...] = tensors[name].detach().numpy()
    return theta


def unpack(shape: Shape, theta: np.ndarray) -> dict[str, Tensor]:
    """The parameters in ``theta [..., parameter]``, by name."""
    return {name: torch.from_numpy(np.ascontiguousarray(view)) for name, view in _views(shape, theta).items()}


def source_of(data: Sampler) -> draw.Source:
    """What these models draw from, with the values' own law."""
    return data.source._replace(values=VALUES[type(data.values)])


def _float32(values: ArrayLike) -> np.ndarray:
    with np.errstate(over="ignore"):  # a rate of 1e39 is infinite, and diverges
        return np.asarray(values, dtype=np.float32)


def _rule(experiments: Sequence[Experiment], data: Sampler) -> Rule:
    recipe, m = experiments[0].training, experiments[0].bottleneck.hidden
    optimizer, t = recipe.optimizer, np.arange(1, recipe.steps + 1)
    adam = optimizer.adam if isinstance(optimizer, RotatedAdam) else optimizer
    adam = adam if isinstance(adam, Adam) else Adam()
    rotation = np.zeros((0, m, m), np.float32)
    if isinstance(optimizer, RotatedAdam):
        rotation = np.ascontiguousarray(haar(data.seeds, m, step=0).float().numpy())
    return Rule(
        kind=OPTIMIZERS[type(optimizer)],
        steps=recipe.steps,
        beta_1=np.float32(adam.beta_1),
        beta_2=np.float32(adam.beta_2),
        eps=np.float32(adam.eps),
        momentum=np.float32(optimizer.momentum if isinstance(optimizer, SGD) else 0),
        ceiling_factor=np.float32(CEILING),
        factor=_float32([recipe.schedule.factor((step - 1) / recipe.steps) for step in t.tolist()]),
        mean_correction=_float32(1 - adam.beta_1**t),
        square_correction=_float32((1 - adam.beta_2**t) ** 0.5),
        rate=_float32([e.training.learning_rate for e in experiments]),
        decay=_float32([e.training.weight_decay for e in experiments]),
        rotation=rotation,
    )


def _state(experiments: Sequence[Experiment], shape: Shape, start: Parameters) -> State:
    recipe, models = experiments[0].training, len(experiments)
    curve_step, snapshot_step = recipe.curve_steps(), recipe.snapshot_steps()

    def like_theta() -> np.ndarray:
        return aligned(models * shape.size).reshape(models, shape.size)

    return State(
        theta=pack(shape, start),
        mean=like_theta(),
        square=like_theta(),
        before=like_theta(),
        eps=np.zeros(models, np.float32) if start.ln_eps is None else start.ln_eps.numpy().astype(np.float32),
        importance=np.stack([e.importance() for e in experiments]).astype(np.float32),
        ceiling=_float32([e.best_constant_loss() for e in experiments]),
        diverged_step=np.zeros(models, np.int64),
        curve_step=np.append(curve_step, NEVER),
        curve=np.zeros((models, len(curve_step)), np.float32),
        snapshot_step=np.append(snapshot_step, NEVER),
        snapshots=np.zeros((models, len(snapshot_step), shape.size), np.float32),
    )
