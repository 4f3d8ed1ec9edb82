"""Kernels in Triton: a whole stretch of a training run in one program a model.

How a model lies in a multiprocessor. A program has one model, and keeps it from its first step to its last:

    weights, Adam's two moments      registers, loop-carried over steps
    a step's gradient                registers, loop-carried over tiles of the batch
    a tile                           x [feature, sample], and what follows of it up to the output and back

Examples are columns, as in `toymodels.bottleneck`. Axes are filled up to powers of two, and what fills up is 0 wherever
it could matter: padded rows of x are never active, padded neurons are 0 at every tap, padded targets cost nothing. So a
product needs no mask. Words are drawn where they are used; nothing of the size of a batch is ever in memory. Memory is
read when a stretch begins and written when it ends, at points of the curve and at snapshots.

A sum over a batch is the sum over tiles of sums over samples, tile by tile. The size of a tile follows from the sizes
of a model alone, programs that run at once never speak, and none of the numbers that a call differs by changes the
code: so a model's bits are the same alone, in a batch, and however its run is cut into stretches.

From the bottom up: `elementary` (functions), `values` and `toymodels.kernels.on_gpu.stream` (x), `weights` (a model's
parameters as a tuple), `hidden` (activations, LayerNorm), `objective` (targets, losses), `tile` (one model on one
tile), `update` (optimizers), `pruning`, `steps` (training), `split` (training again, a step by two kernels). What they
are compiled for is a `toymodels.engines.gpu.form.Form`, which every function takes; a word that it holds and a kernel
does not know gives NaN.

These files import Triton and each other, when training begins and not before: elsewhere it need not be installed.
With TRITON_INTERPRET=1 in the environment they are run by NumPy, on the CPU, operation by operation.
"""
