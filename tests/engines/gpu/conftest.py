"""What tests of the gpu engine share: Triton's interpreter, made fast enough.

The wheel is for Linux alone; elsewhere these tests say so and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType

import pytest


@pytest.fixture(autouse=True, scope="session")
def interpreter() -> Iterator[None]:
    """Triton's interpreter puts its operations in place once a launch.

    Of itself it does so at every call of a function by a kernel, which takes a millisecond: most of the time of a step.
    """
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    import triton.language as tl
    from triton.runtime import interpreter

    put_in_place = interpreter._patch_lang

    def once(function: FunctionType) -> object:
        seen = [each for each in function.__globals__.values() if each is tl or each is tl.core]
        there = not any(tl.core.is_builtin(each.load) for each in seen)
        return interpreter._LangPatchScope() if there else put_in_place(function)

    interpreter._patch_lang = once
    yield
    interpreter._patch_lang = put_in_place
