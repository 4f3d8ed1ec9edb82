"""TF32 emulated: which numbers it has, and that products, all of them and nothing else, get them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import tf32


def test_numbers_have_ten_bits_of_mantissa() -> None:
    x = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-12, -1 - 2**-11, 1 + 2**-12, 3.0e38, 0.0])
    up = [1.0, 1 + 2**-10, 1 + 2**-10, 1 + 2**-10, -1 - 2**-10, 1.0]
    assert tf32.rounded(x)[:6].tolist() == up
    assert tf32.cut(x)[:6].tolist() == [1.0, 1 + 2**-10, 1.0, 1.0, -1.0, 1.0]
    assert tf32.rounded(x, tf32.BFLOAT16).tolist() == x.bfloat16().float().tolist()  # no number here is a tie of it
    drawn = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    for of, most in ((tf32.rounded, 2**-11), (tf32.cut, 2**-10)):
        assert ((of(drawn) - drawn).abs() <= most * drawn.abs()).all()
        assert torch.equal(of(of(drawn)), of(drawn))


def test_factors_are_changed_forwards_and_backwards_and_what_is_added_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(3, 3, generator=generator, requires_grad=True) for _ in range(3))
    with tf32.Products(tf32.cut) as products:
        y = torch.addmm(c, a, b) * 1.1
        y.sum().backward()
    assert products.count == 3
    slope = torch.full((3, 3), 1.1)
    torch.testing.assert_close(y, (c + tf32.cut(a.detach()) @ tf32.cut(b.detach())) * 1.1, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(a.grad, tf32.cut(slope) @ tf32.cut(b.detach()).T, rtol=1e-6, atol=1e-6)
    assert torch.equal(c.grad, slope)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_the_record_has_a_row_for_every_arm_and_number(tmp_path: Path) -> None:
    tf32.main(["--seeds", "2", "--steps", "20", "--out", str(tmp_path)])
    page = (tmp_path / "tf32-emulated.md").read_text()
    assert sum(line.startswith(("| gelu |", "| solu |", "| solu+LN |")) for line in page.splitlines()) == 9
