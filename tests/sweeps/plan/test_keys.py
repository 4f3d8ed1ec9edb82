"""Keys: read as hex, whatever their bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels.sweeps.plan.keys import Keys
from toymodels.sweeps.spec.settings import KEY_BYTES

DIGESTS = st.lists(st.one_of(st.binary(min_size=12, max_size=12), st.sampled_from([bytes(12), b"a" + bytes(11)])))


@given(digests=DIGESTS)
def test_keys_are_the_digests_in_hex(digests: list[bytes]) -> None:
    keys, hexed = Keys(b"".join(digests)), [digest.hex() for digest in digests]
    assert list(keys) == hexed
    assert list(keys[::-1]) == hexed[::-1]
    assert keys.lines() == "\n".join(hexed)
    assert keys.distinct() == len(set(hexed))
    assert keys == Keys(b"".join(digests))


def test_key_that_is_not_there() -> None:
    keys = Keys(bytes(range(KEY_BYTES)))
    assert keys[-1] == keys[0]
    with pytest.raises(IndexError):
        keys[1]
    assert keys != Keys(b"")
