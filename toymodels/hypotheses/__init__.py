"""Hypotheses: predictions put to trained models, each with its statistic, its margin and its rule, and able to fail.

`arms` pairs the models, `measuring` asks them everything, the files ``p1`` to ``p9`` are one prediction each,
`battery` judges them, and `constructed` is what the battery must get right first.
"""
