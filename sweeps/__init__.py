"""Sweeps: the ``model`` axis filled with a grid.

spec -> grid -> plan -> run -> store -> tables. The shipped sweeps are the ``*.toml`` files beside this one.
"""
