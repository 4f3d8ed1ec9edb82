"""Devices: one sentence for a word that names none and for one that is not there, and what "auto" means."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import door
from toymodels import Bottleneck, Experiment, Features, Training, train
from toymodels.engines import ENGINES, Unsupported
from toymodels.engines.devices import absent, best_for, misnamed
from toymodels.engines.registry import kinds_of

PLAIN = [Experiment(Features(5, 0.2), Bottleneck(2), Training(steps=3, batch=8))]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """CUDA devices that torch says it can use."""
    there: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(there))
    return there


@pytest.mark.parametrize("word", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:٣", "cpu:0", "mps", "Cuda"])
def test_a_word_that_names_no_device_is_a_sentence_with_the_choices(word: str) -> None:
    said = f"device: expected auto, cpu, cuda or a numbered one such as cuda:1, got '{word}'"
    with pytest.raises(ValueError, match=f"^{said}$"):
        train(PLAIN, device=word)
    if word:
        assert door("sweep", "tms_intro", "--device", word).err == f"toymodels: --{said}\n"


def test_a_device_that_is_not_there_is_a_sentence(gpus: list[str]) -> None:
    none = "device: this machine has no CUDA device that torch can use (choose auto or cpu)"
    for device in ("cuda", "cuda:0", torch.device("cuda:3")):
        with pytest.raises(ValueError, match=r"^device: this machine has no CUDA device that torch can use \(choose"):
            train(PLAIN, device=device)
    assert door("sweep", "tms_intro", "--device", "cuda").err == f"toymodels: --{none}\n"
    gpus.append("H200")
    with pytest.raises(ValueError, match=r"^device: this machine has one CUDA device, cuda:0, got 'cuda:1'"):
        train(PLAIN, device="cuda:1")
    assert absent("cuda:2", 2) == "this machine has 2 CUDA devices, cuda:0 to cuda:1, got 'cuda:2'"
    assert absent("cuda:1", 2) is absent("cuda", 1) is absent("cpu", 0) is None
    assert misnamed("cpu") is misnamed("cuda:12") is None


def test_auto_is_cuda_where_it_is_there_and_the_engine_is_not_for_a_cpu_alone(gpus: list[str]) -> None:
    assert {best_for(kinds_of(name)) for name in ("auto", *ENGINES)} == {"cpu"}
    assert torch.equal(train(PLAIN, device="auto").curve, train(PLAIN).curve)
    gpus.append("H200")
    assert {name: best_for(kinds_of(name)) for name in ("auto", *ENGINES, "abacus")} == {
        "auto": "cuda",
        "autograd": "cuda",
        "gpu_tf32": "cuda",
        "gpu_split": "cuda",
        "gpu": "cuda",
        "fused": "cpu",
        "abacus": "cuda",
    }
    assert torch.equal(train(PLAIN, device="auto", engine="fused").curve, train(PLAIN).curve)


def test_an_engine_that_is_for_another_device_or_precision_says_which(gpus: list[str]) -> None:
    gpus.append("H200")
    how = r'trains on a cpu, not on cuda: choose device="cpu" \(--device cpu\), or engine gpu or autograd'
    with pytest.raises(Unsupported, match=f"^the fused engine {how}$"):
        train(PLAIN, device="cuda", engine="fused")
    with pytest.raises(Unsupported, match=r"^the fused engine computes in float32, not in float64$"):
        train(PLAIN, dtype=torch.float64, engine="fused")
