"""Peers: how else these models could be trained, each written here, each with the same interface.

A peer is a class: ``Peer(workload, density)`` makes its models, ``density`` may be changed, ``run(steps)`` trains them
so many steps further and returns the batch loss of each model at the last step, ``close()`` lets go of what it holds.
"""
