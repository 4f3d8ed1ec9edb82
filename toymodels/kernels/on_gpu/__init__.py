"""Kernels in Triton that the science itself needs, on an NVIDIA GPU: the stream.

`stream` has its words and x, drawn where they are used; `fill` writes x into memory. `availability` says whether Triton
is there, and does not import it. The others import Triton, when something is first drawn on a GPU and not before:
elsewhere it need not be installed. With TRITON_INTERPRET=1 in the environment they are run by NumPy, on the CPU.
"""
