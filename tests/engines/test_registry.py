"""The registry: a name becomes an engine once; "auto" is the last that refuses nothing; an engine is one entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch

from toymodels import Bottleneck, Experiment, Features, Power, Training, train
from toymodels.engines import ENGINES, Engine, Unsupported, choose
from toymodels.engines.autograd import AutogradEngine
from toymodels.engines.fused import FusedEngine

PLAIN = [Experiment(Features(5, 0.2), Bottleneck(2), Training(steps=3, batch=8))]
OWN_LOSS = [Experiment(Features(5, 0.2), Bottleneck(2), Training(steps=3, batch=8), loss=Power())]


def test_auto_is_the_last_engine_that_refuses_no_batch_and_says_why_not_the_one_preferred() -> None:
    assert choose("auto", [PLAIN, PLAIN]).engine is ENGINES["fused"]
    assert choose("auto", [PLAIN]).passed_over is None
    chosen = choose("auto", [PLAIN, OWN_LOSS])
    assert chosen.engine is ENGINES["autograd"]
    assert chosen.passed_over == ENGINES["fused"].refuses(OWN_LOSS)
    elsewhere = choose("auto", [PLAIN], "cuda:1")
    assert elsewhere.engine is ENGINES["autograd"]
    assert elsewhere.passed_over == ENGINES["gpu"].lacks("cuda:1")


def test_what_a_machine_lacks_is_asked_of_the_one_that_trains() -> None:
    """Which may have a GPU where this one has none: what an engine has code for is the same on both."""

    def lacks(engine: Engine) -> str | None:
        return "no Triton there" if engine.name == "gpu" else None

    assert choose("auto", [PLAIN], "cuda", lacks=lambda _: None).engine is ENGINES["gpu"]
    assert choose("gpu", [PLAIN], "cuda", lacks=lambda _: None).engine is ENGINES["gpu"]
    assert choose("auto", [PLAIN], "cuda", lacks=lacks).passed_over == "no Triton there"
    with pytest.raises(Unsupported, match=r"^no Triton there$"):
        choose("gpu", [], "cuda", lacks=lacks)
    with pytest.raises(Unsupported, match="no kernel for loss 'power'"):
        choose("gpu", [PLAIN, OWN_LOSS], "cuda", lacks=lambda _: None)
    assert ENGINES["gpu"].lacks("cuda")
    assert not ENGINES["gpu"].refuses(PLAIN, "cuda")
    assert [ENGINES[name].lacks("cuda") for name in ("autograd", "fused")] == [None, None]


def test_no_more_batches_are_asked_for_than_it_takes_to_know() -> None:
    def batches() -> Iterator[list[Experiment]]:
        yield OWN_LOSS
        raise AssertionError

    assert choose("auto", batches()).engine is ENGINES["autograd"]
    assert choose("autograd", batches()).engine is ENGINES["autograd"]
    with pytest.raises(Unsupported, match="no kernel for loss 'power'"):
        choose("fused", batches())


def test_a_name_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(
        ValueError, match="engine: expected auto, autograd, gpu_tf32, gpu_split, gpu or fused, got 'fusd'"
    ):
        choose("fusd", [PLAIN])


def test_an_engine_that_lacks_a_part_cannot_be_made() -> None:
    class Half(FusedEngine):
        moments = Engine.moments

    with pytest.raises(TypeError, match="moments"):
        Half()  # pyright: ignore[reportAbstractUsage]


def test_an_engine_is_one_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []

    class Third(AutogradEngine):
        name = "third"
        devices = ("cpu",)

        def refuses(
            self, experiments: Sequence[Experiment], device: str = "cpu", dtype: torch.dtype = torch.float32
        ) -> str | None:
            return "the third engine has no power" if isinstance(experiments[0].loss, Power) else None

        def train(self, experiments: Sequence[Experiment], *rest: Any, **more: Any) -> Any:
            trained.append(experiments)
            return super().train(experiments, *rest, **more)

    monkeypatch.setitem(ENGINES, "third", Third())
    train(PLAIN)
    train(PLAIN, engine="third")
    train(OWN_LOSS)
    assert trained == [PLAIN, PLAIN]
    assert choose("auto", [OWN_LOSS]).passed_over == "the third engine has no power"
    with pytest.raises(Unsupported, match="the third engine has no power"):
        train(OWN_LOSS, engine="third")


@pytest.mark.parametrize("name", ENGINES)
def test_a_fingerprint_is_words_by_name_and_the_same_each_time(name: str) -> None:
    said: Mapping[str, str] = ENGINES[name].fingerprint()
    assert said["engine"] == name
    assert all(isinstance(word, str) and word for word in said.values())
    assert said == ENGINES[name].fingerprint()
