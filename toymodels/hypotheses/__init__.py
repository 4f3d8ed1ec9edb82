"""Hypotheses: predictions put to trained models, each with its statistic, its margin and its rule, and able to fail.

`arms` pairs the models, `measuring` asks them everything, which is `evidence`, `tiers` says where their features live,
`predictions` are one file each, `battery` judges them, and `constructed` is what it must get right first. Apart from
these stands `linearisation`: what freezing a layer's mask leaves of it.
"""
