"""The gpu engine at the door: where it runs, what it says where it does not, and what `auto` makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from toymodels import Bottleneck, Experiment, Features, Training, measure, train
from toymodels.engines import ENGINES, Unsupported, choose
from toymodels.engines.gpu import Tf32Engine
from toymodels.kernels.on_gpu import availability

PLAIN = [Experiment(Features(5, 0.2), Bottleneck(2), Training(steps=3, batch=16), seed=seed) for seed in range(2)]
gpu = ENGINES["gpu"]


def test_interpreted_it_is_for_the_cpu_alone_and_never_preferred_there() -> None:
    assert gpu.lacks() is gpu.refuses(PLAIN) is None
    assert gpu.lacks("cuda:1") == "with TRITON_INTERPRET=1 the gpu engine is interpreted on cpu, not run on cuda:1"
    assert choose("auto", [PLAIN]).engine is ENGINES["fused"]
    assert torch.equal(train(PLAIN, engine="gpu").parameters.W_in, gpu.train(PLAIN).parameters.W_in)


def test_without_a_gpu_it_says_why_not_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(availability.SWITCH)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence = "the gpu engine runs on a CUDA device, and this machine has none that torch can use"
    with pytest.raises(Unsupported, match=f"^{sentence}$"):
        train(PLAIN, engine="gpu")
    assert gpu.lacks("cuda") == sentence
    assert gpu.refuses(PLAIN, "cuda") is None
    assert choose("auto", [PLAIN]).engine is ENGINES["fused"]


def test_with_a_gpu_it_is_the_one_that_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(availability.SWITCH)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    how = r'not on cpu: choose device="cuda" \(--device cuda\)'
    with pytest.raises(Unsupported, match=f"^the gpu engine runs on a CUDA device, {how}$"):
        train(PLAIN, engine="gpu")
    assert choose("auto", [PLAIN], "cuda:1").engine is gpu
    assert choose("auto", [PLAIN], "cuda:1").passed_over is None
    large = [Experiment(Features(512, 0.05), Bottleneck(256, tied=False))]
    chosen = choose("auto", [PLAIN, large], "cuda")
    assert chosen.engine is ENGINES["autograd"]
    assert chosen.passed_over is not None
    assert "holds a model in one multiprocessor" in chosen.passed_over
    assert gpu.refuses(PLAIN, "cuda", torch.float64) == "the gpu engine computes in float32, not in float64"


def test_without_triton_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda name: None)
    sentence = "the gpu engine needs Triton, which comes with PyTorch for CUDA: pip install triton"
    assert gpu.lacks("cpu") == sentence
    monkeypatch.delenv(availability.SWITCH)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.lacks("cuda") == "the gpu engine runs on a CUDA device, and this machine has none that torch can use"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu.lacks("cuda") == sentence


def test_without_a_compiler_or_pythons_header_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(availability.SWITCH)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(availability.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    header = f"the gpu engine needs Python.h for Triton, and {tmp_path} has none: install Python's development files"
    assert gpu.lacks("cuda") == header
    (tmp_path / "Python.h").touch()
    assert gpu.lacks("cuda") is None
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(availability.shutil, "which", lambda name: None)
    assert gpu.lacks("cuda") == (
        "the gpu engine needs a C compiler for Triton, gcc or clang on the path or another named by CC"
    )
    assert choose("auto", [PLAIN], "cuda").engine is ENGINES["autograd"]
    monkeypatch.setenv("CC", "tcc")
    assert gpu.lacks("cuda") is None


def test_a_gpu_with_too_little_shared_memory_is_told_of_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.errors import OutOfResources

    from toymodels.engines.gpu.kernels import steps

    class Lacking:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            def launch(*arguments: Any, **options: Any) -> None:
                raise OutOfResources(114688, 101376, "shared memory")

            return launch

    monkeypatch.setattr(steps, "train", Lacking())
    with pytest.raises(Unsupported, match="too little shared memory for a model of 5 features and 2 neurons"):
        gpu.train(PLAIN)


def test_tf32_is_an_engine_of_its_own_name_which_auto_does_not_take() -> None:
    tf32 = ENGINES["gpu_tf32"]
    assert isinstance(tf32, Tf32Engine)
    assert tf32.fingerprint()["engine"] == "gpu_tf32"
    assert tf32.fingerprint()["gpu kernels"] == gpu.fingerprint()["gpu kernels"]
    # Interpreted, products are float32 whatever is asked for.
    assert torch.equal(tf32.train(PLAIN).parameters.W_in, gpu.train(PLAIN).parameters.W_in)


def test_what_it_trained_is_measured_as_any_other() -> None:
    trained = gpu.train(PLAIN)
    assert torch.isfinite(measure(PLAIN, trained.parameters, 256).models["loss"]).all()
    (ours,), (theirs,) = (engine.moments(PLAIN, trained.parameters, [0, 256]) for engine in (gpu, ENGINES["autograd"]))
    assert ours.keys() == theirs.keys()
    for key, sums in theirs.items():
        torch.testing.assert_close(ours[key], sums, rtol=1e-4, atol=1e-3, check_dtype=False)


def test_what_it_needs_counts_every_array_that_grows_with_models() -> None:
    """Theta thrice before and after a stretch, and twice more: 8 numbers a parameter at least, and snapshots."""
    plain, with_snapshots = (
        [Experiment(Features(20, 0.1), Bottleneck(5), Training(steps=99, batch=16, snapshots=count))]
        for count in (0, 9)
    )
    parameters = 20 * 5 + 20
    assert gpu.bytes_needed(plain) >= 4 * 8 * parameters
    assert gpu.bytes_needed(with_snapshots) - gpu.bytes_needed(plain) == 4 * 9 * parameters
    assert gpu.bytes_needed(plain * 7) == 7 * gpu.bytes_needed(plain)


def test_triton_is_not_imported_before_a_model_is_trained() -> None:
    program = "import sys, toymodels, toymodels.engines, toymodels.cli; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
