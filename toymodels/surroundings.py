"""Surroundings: what a process has set for PyTorch and NumPy changes no number that is computed here.

A notebook turns gradients off, a script makes float64 or a GPU the default, a test run has NumPy raise: settings of the
whole process or thread, which reach into every library. The functions that train, measure, draw or fit have PyTorch's
gradients on and its inference mode, autocast and default device and dtype, and NumPy's handling of errors, as these
are in a new process, and leave them as they found them. `forward`, interventions and other functions of tensors that
one may differentiate through keep to the caller's settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch

from toymodels.forks import one_thread_in_children

P = ParamSpec("P")
R = TypeVar("R")

ERRORS: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""NumPy's own, documented at `numpy.seterr`."""
DEVICES = ("cpu", "cuda")


@contextmanager
def as_in_a_new_process() -> Iterator[None]:
    """PyTorch's and NumPy's settings are those of a new process meanwhile, in this thread; then as they were."""
    if torch.get_num_threads() > 1:
        one_thread_in_children()
    with ExitStack() as put_back:
        # Only what differs is set: a context for the default device alone slows every operation down.
        if torch.is_inference_mode_enabled():
            put_back.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            put_back.enter_context(torch.enable_grad())
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                put_back.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            put_back.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            put_back.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if np.geterr() != ERRORS:
            put_back.enter_context(np.errstate(**ERRORS))
        yield


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch is set to ``count`` threads meanwhile, in this thread; then as it was."""
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count != before:
            torch.set_num_threads(before)


def undisturbed(function: Callable[P, R]) -> Callable[P, R]:
    """The function, or generator function, computing `as_in_a_new_process`; what it yields is yielded outside."""
    if inspect.isgeneratorfunction(function):
        generator_function = cast(Callable[P, Generator[Any]], function)

        @wraps(function)
        def each(*args: P.args, **kwargs: P.kwargs) -> Generator[Any]:
            generator = generator_function(*args, **kwargs)
            try:
                while True:
                    with as_in_a_new_process():
                        try:
                            value = next(generator)
                        except StopIteration:
                            return
                    yield value
            finally:
                with as_in_a_new_process():
                    generator.close()

        return cast(Callable[P, R], each)

    @wraps(function)
    def whole(*args: P.args, **kwargs: P.kwargs) -> R:
        with as_in_a_new_process():
            return function(*args, **kwargs)

    return whole
