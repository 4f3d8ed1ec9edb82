"""Kernels: the arithmetic of `toymodels` compiled for this machine's vector units.

A *tile* is as many samples as fit in a few registers, and a *row* is one feature or neuron over a tile: one value of
the Numba type of `vector`. So a kernel reads like the equations for one sample, and computes `LANES` of them. From the
bottom up: `vector` (the type), `elementary` (exp, log, erf), `draw` (rows of x), `layers` (activations, LayerNorm and
their derivatives), `products` (weights times rows), `bottleneck` (one model on one tile), `update` (optimizers),
`steps` (training) and `moments` (evaluation); `compiled` has them compiled, `kept` keeps what was compiled.

These files import Numba and NumPy, and each other; whatever chooses what to run lives elsewhere.
"""
