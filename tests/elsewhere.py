"""A device that is not there: tensors that say they are elsewhere, whose numbers are on the CPU all the same.

Where there is no GPU it stands for one in all but speed and rounding. PyTorch knows its type, "meta", as one without
data; here the data are kept. What CUDA refuses is refused: mixing tensors of two devices, NumPy, and, while kernels are
recorded, waiting for the device or bringing it numbers. So is what CUDA adds up in another order every time, though it
would not refuse. Kernels that were recorded are replayed one by one, each into the memory that it wrote when it was
recorded, so whatever a recording took for constant stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
WAITS = (
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
)
"""what cannot return before the device has computed"""
INDEXES = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
"""what waits where it is told by truth values which: how many they are is not known before"""
REPEATS = (aten.repeat_interleave.Tensor, aten.repeat_interleave.self_Tensor)
"""what waits where nobody says how many there will be"""
UNORDERED = (
    aten.index_add.default,
    aten.index_add_.default,
    aten.scatter_add.default,
    aten.scatter_add_.default,
    aten.scatter_reduce.two,
    aten.scatter_reduce_.two,
    aten.scatter.reduce,
    aten.scatter_.reduce,
    aten.index_reduce.default,
    aten.index_reduce_.default,
    aten.cumsum.default,
    aten.cumsum_.default,
    aten.cumprod.default,
    aten.cumprod_.default,
    aten.logcumsumexp.default,
    aten.histc.default,
    aten.embedding_dense_backward.default,
)
"""what CUDA adds up in any order, as it does where told to accumulate or of weights: the same twice only of whole
numbers (PyTorch, *torch.use_deterministic_algorithms*)"""
LOST = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported at some other call."
"""what PyTorch says where a GPU is lost"""


class There(torch.Tensor):
    """A tensor on the device; its numbers are those of ``here``, on the CPU."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> There:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
        )
        made.here = here
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"There({self.here})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Elsewhere.now.run(func, args, kwargs or {})


class _Numbers(TorchFunctionMode):
    """Numbers of Python go to the device by way of the CPU: a tensor of type "meta" would be made without them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.new_tensor and isinstance(args[0], There):
            kwargs.setdefault("dtype", args[0].dtype)
            return torch.tensor(*args[1:], **kwargs).to(DEVICE)
        if func is torch.Tensor.numpy and isinstance(args[0], There) and kwargs.get("force"):
            return args[0].detach().cpu().numpy()
        if func is torch.Tensor.tolist and isinstance(args[0], There):
            return args[0].detach().cpu().tolist()
        device = kwargs.get("device")
        if func not in (torch.tensor, torch.as_tensor) or device is None or torch.device(device).type != DEVICE.type:
            return func(*args, **kwargs)
        del kwargs["device"]
        return func(*args, **kwargs).to(DEVICE)


class Elsewhere(TorchDispatchMode):
    """The device is there while this is entered."""

    now: Elsewhere

    def __init__(self) -> None:
        super().__init__()
        Elsewhere.now = self
        self.waited: list[str] = []
        """what waited for the device, or brought it numbers"""
        self.kernels = 0
        self.lost_after: int | None = None
        """kernels after which it answers no more"""
        self.most: int | None = None
        """numbers that fit into a tensor here, if not any"""
        self.recording: list[Callable[[], None]] | None = None
        self.undo: list[tuple[torch.Tensor, torch.Tensor]] = []

        self.numbers = _Numbers()

    def __enter__(self) -> Elsewhere:
        self.numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self.numbers.__exit__(*raised)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operation, on the device where any of its tensors, or what it makes, is there."""
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        there, asked = any(isinstance(each, There) for each in given), kwargs.get("device")
        made = asked is not None and torch.device(asked).type == DEVICE.type
        if not there and not made:
            return func(*args, **kwargs)
        comes, goes = func is aten._to_copy.default and not there, there and asked is not None and not made
        told = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | kwargs
        crosses = comes or goes or (func is aten.copy_.default and len({type(each) for each in given}) > 1)
        if crosses or _waits(func, told):
            self._waits(str(func))
        elif others := [each for each in given if not isinstance(each, There) and each.dim()]:
            raise RuntimeError(f"{func}: expected all tensors on one device, got one of {others[0].shape} on the CPU")
        if _unordered(func, told):
            raise RuntimeError(f"{func} does not have a deterministic implementation on CUDA")
        if self.lost_after is not None and self.kernels >= self.lost_after:
            raise torch.AcceleratorError(LOST)
        kwargs = {**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs
        inner_args, inner_kwargs = tree_map(_here, (args, kwargs))
        if self.recording is not None and func._schema.is_mutable:
            self.undo.append((inner_args[0], inner_args[0].clone()))
        found = func(*inner_args, **inner_kwargs)
        if goes:
            return found
        if self.most is not None and any(
            isinstance(each, torch.Tensor) and each.numel() > self.most for each in tree_leaves(found)
        ):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
        self.kernels += 1
        self._record(func, inner_args, inner_kwargs, found)
        return _wrapped(func, args, found)

    def _waits(self, what: str) -> None:
        if self.recording is not None:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")
        self.waited.append(what)

    def _record(self, func: Any, args: Any, kwargs: Any, found: Any) -> None:
        """Remember a kernel: what it read and wrote. A view is none: it is memory of another tensor."""
        if self.recording is None:
            return
        returned = [each for each in tree_leaves(found) if isinstance(each, torch.Tensor)]
        given = {
            each.untyped_storage().data_ptr() for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)
        }
        shares = [each.untyped_storage().data_ptr() in given for each in returned]
        writes = func._schema.is_mutable
        if not writes and returned and all(shares):
            return

        def again() -> None:
            new = [each for each in tree_leaves(func(*args, **kwargs)) if isinstance(each, torch.Tensor)]
            for old, fresh, shared in zip(returned, new, shares, strict=True):
                if not shared:
                    old.copy_(fresh)

        self.recording.append(again)
        self.undo += [
            (each, torch.full_like(each, torch.nan if each.is_floating_point() else 1))
            for each, shared in zip(returned, shares, strict=True)
            if not shared
        ]

    # --------------------------------------------------------------------------- as `toymodels.engines.autograd.replay`

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing: there is one stream."""
        yield

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """The kernels of ``work``. CUDA does not run what it records: what was written is put back, or spoilt."""
        self.recording, self.undo = [], []
        try:
            work()
            recorded = self.recording
        finally:
            self.recording = None
            for written, before in reversed(self.undo):
                written.copy_(before)

        def replay() -> None:
            with torch.no_grad():
                for kernel in recorded:
                    kernel()

        return replay


def _waits(func: Any, told: dict[str, Any]) -> bool:
    """Whether an operation, told so by the names of its arguments, cannot return before the device has computed."""
    if func in INDEXES:
        return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in told["indices"])
    return func in WAITS or (func in REPEATS and told.get("output_size") is None)


def _unordered(func: Any, told: dict[str, Any]) -> bool:
    """Whether CUDA rounds what an operation, told so, makes in another order every time."""
    adds = func in UNORDERED or told.get("accumulate") or told.get("weights") is not None
    return bool(adds) and any(isinstance(t, torch.Tensor) and t.is_floating_point() for t in tree_leaves(told))


def _here(value: Any) -> Any:
    return value.here if isinstance(value, There) else value


def _wrapped(func: Any, args: Any, found: Any) -> Any:
    """What was found, on the device; where it was written in place, the tensor that was given."""
    if func._schema.is_mutable and isinstance(args[0], There) and found is args[0].here:
        return args[0]
    return tree_map(lambda each: There(each) if isinstance(each, torch.Tensor) else each, found)
