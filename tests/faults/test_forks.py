"""Forks: what a child computes that was forked after its parent computed on several threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, multiprocessing, sys
import torch
import toymodels as tm

def loss(seed):
    experiments = [tm.Experiment(tm.Features(40, 0.1), tm.Bottleneck(20), tm.Training(5, 1024), seed=seed)]
    trained = tm.train(experiments, engine=sys.argv[1])
    return float(tm.measure(experiments, trained.parameters, samples=2000).models["loss"][0]), torch.get_num_threads()

if __name__ == "__main__":
    parent = [loss(seed) for seed in range(2)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        children = pool.map_async(loss, range(2)).get(timeout=100)
    torch.set_num_threads(1)
    print(json.dumps([parent, children, [loss(seed) for seed in range(2)]]))
"""


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_a_child_forked_after_an_engine_has_run_computes(engine: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", PROGRAM, engine]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    parent, children, alone = json.loads(done.stdout)
    assert [threads for _, threads in parent + children] == [2, 2, 1, 1]
    assert children == alone
    assert [value for value, _ in children] == pytest.approx([value for value, _ in parent], rel=1e-5)
    if engine == "fused":
        assert [value for value, _ in children] == [value for value, _ in parent]
