"""Occupancy: how many programs one multiprocessor of a GPU runs at once, and what keeps it from running more.

A program (NVIDIA: a block) of w warps of 32 threads has, until it ends, registers, shared memory and w places for
warps. Registers are given to a warp in units of 256 and come in four parts, one of which has the whole of a warp;
shared memory in units of 128 bytes, of which a program takes 1 KB more than it asks for. So

    by registers        floor(4 floor((R / 4) / ceil_256(32 r)) / w)    of R, r a thread
    by shared memory    floor(S / ceil_128(s + 1024))                   of S bytes, s a program
    by warps            floor(W / w)                                    of W
    by programs         B, whatever they take

and the least of these run at once: NVIDIA, *CUDA C++ Programming Guide*, technical specifications per compute
capability, and ``cuda_occupancy.h``, against which tests hold it. More warps hide more of each other's waiting; that a
kernel is faster for them is not said (Volkov 2010, *Better performance at lower occupancy*).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

KIB = 1024
THREADS = 32
"""of a warp"""
PARTS, REGISTER_UNIT = 4, 256
"""of a multiprocessor's registers; how many a warp is given at once"""
SHARED_UNIT, RESERVED = 128, KIB
"""bytes of shared memory that a program is given at once; those that the system has of each program"""


@dataclass(frozen=True)
class Multiprocessor:
    """What the programs on one multiprocessor share."""

    warps: int
    programs: int
    """at most, whatever they take"""
    shared: int
    """bytes of shared memory"""
    registers: int = 2**16
    """of 32 bits"""

    @staticmethod
    def of_capability(capability: int) -> Multiprocessor:
        """That of GPUs of a compute capability: 90 is 9.0. Raises ``ValueError`` for one that is not listed here."""
        if capability not in CAPABILITIES:
            known = ", ".join(map(str, CAPABILITIES))
            raise ValueError(f"compute capability: expected one of {known}, got {capability}")
        return CAPABILITIES[capability]

    @staticmethod
    def of_device(device: str) -> Multiprocessor:
        """That of a GPU, as it tells itself; how many programs at most it does not tell."""
        told = torch.cuda.get_device_properties(device)
        return Multiprocessor(
            warps=told.max_threads_per_multi_processor // told.warp_size,
            programs=Multiprocessor.of_capability(10 * told.major + told.minor).programs,
            shared=told.shared_memory_per_multiprocessor,
            registers=told.regs_per_multiprocessor,
        )


CAPABILITIES = {
    80: Multiprocessor(warps=64, programs=32, shared=164 * KIB),
    86: Multiprocessor(warps=48, programs=16, shared=100 * KIB),
    89: Multiprocessor(warps=48, programs=24, shared=100 * KIB),
    90: Multiprocessor(warps=64, programs=32, shared=228 * KIB),
    100: Multiprocessor(warps=64, programs=32, shared=228 * KIB),
    120: Multiprocessor(warps=48, programs=24, shared=100 * KIB),
}
"""by compute capability: A100; A10, RTX 30; L4, L40, RTX 40; H100, H200; B200; RTX 50"""


@dataclass(frozen=True)
class Occupancy:
    """How many programs of a kernel share a multiprocessor."""

    programs: int
    """0 where one alone does not fit"""
    share: float
    """of the warps that a multiprocessor runs at most, those of these programs"""
    limit: str
    """what there is no more of: registers, shared memory, warps or programs; several where all are used up at once"""

    @staticmethod
    def of(of: Multiprocessor, *, warps: int, registers: int, shared: int) -> Occupancy:
        """Of programs of so many ``warps``, ``registers`` a thread and bytes of ``shared`` memory."""
        of_warp = _up(registers * THREADS, REGISTER_UNIT)
        fit = {
            "registers": PARTS * (of.registers // PARTS // of_warp) // warps,
            "shared memory": of.shared // _up(shared + RESERVED, SHARED_UNIT),
            "warps": of.warps // warps,
            "programs": of.programs,
        }
        programs = min(fit.values())
        limit = " and ".join(what for what, most in fit.items() if most == programs)
        return Occupancy(programs, programs * warps / of.warps, limit)


def _up(number: int, unit: int) -> int:
    """The least multiple of a unit that is not below a number."""
    return -(-number // unit) * unit
