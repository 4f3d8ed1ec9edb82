"""``toymodels measure-transformer`` on small transformers that are trained here: what it reads, says and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import door
from toymodels.sweeps.store.transformer_files import read_transformer, write_transformer
from toymodels.transformers.language import Language
from toymodels.transformers.training import train_transformer

COMMAND = "measure-transformer"
SEEDS = range(4)
ARMS = {"solu_ln": "solu + LN", "gelu": "gelu", "gelu_ln": "gelu + LN"}
STEPS = 300


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four seeds of three arms."""
    where, found = tmp_path_factory.mktemp("transformers"), []
    for act_fn in ARMS:
        for seed in SEEDS:
            language = Language(seed=seed)
            bridge = train_transformer(language, act_fn, seed=seed, steps=STEPS, learning_rate=3e-2)
            found.append(write_transformer(where / f"{act_fn}-{seed}", bridge, language))
    return found


def tables(answer: Any) -> dict[str, list[dict[str, Any]]]:
    """The tables of a document by the first words of their titles."""
    return {
        title.split(":")[0]: [dict(zip(of["columns"], row, strict=True)) for row in of["rows"]]
        for title, of in answer["tables"].items()
    }


def test_a_transformer_comes_back_as_it_was_written(folders: list[Path]) -> None:
    for folder in (folders[0], folders[-1]):
        back = read_transformer(folder)
        again = write_transformer(folder.with_name("again"), back.bridge, back.language)
        assert all(
            (folder / name).read_bytes() == (again / name).read_bytes() for name in ("config.json", "model.safetensors")
        )
        assert back.act_fn == back.bridge.cfg.act_fn
        assert back.language == Language(seed=back.seed or 0)


def test_what_the_battery_says_of_latents(folders: list[Path]) -> None:
    answer = door(COMMAND, *folders, "--features", "latents", "--json")
    assert answer.code == 0, answer.err
    said = answer.json()
    of = tables(said)
    means = {(row["arm"], row["measure"]): row for row in of["an arm"]}
    for arm in ARMS.values():
        engaged = means[arm, "affine substitution"]
        assert engaged["low"] > 0.05, arm  # every activation does something: the question can be asked
        assert engaged["seeds"] == 4
        assert 2.7 < means[arm, "cross-entropy of the next token, nats"]["mean"] < 3.2
        assert means[arm, "features"]["mean"] == 16
        assert 0 < means[arm, "effective neurons"]["mean"] < 1
    q1 = {
        row["minus"]: row
        for row in of["features of a model of solu + LN minus those of another arm"]
        if "Q1" in row["asked"]
    }
    assert set(q1) == {"gelu", "gelu + LN", "each without SoLU"}
    for arm in ("gelu", "gelu + LN"):
        counted = means["solu + LN", "features in tier neuron"]["mean"] - means[arm, "features in tier neuron"]["mean"]
        assert q1[arm]["mean"] == pytest.approx(counted)
        assert q1[arm]["mean"] > 0
    features = of["a feature of a model"]
    assert len(features) == 3 * 4 * 16
    for arm in ARMS.values():
        in_neurons = [row for row in features if row["arm"] == arm and row["tier"] == "neuron"]
        assert len(in_neurons) == pytest.approx(4 * means[arm, "features in tier neuron"]["mean"])
        assert all(row["alignment"] > 0.5 and row["percentile"] > 99 for row in in_neurons)
    assert {row["arm"] for row in of["a statistic of an arm, by its own tiers"]} == set(ARMS.values())


def test_tokens_bigrams_and_directions_are_measured_and_said(folders: list[Path], tmp_path: Path) -> None:
    save_file({"directions": torch.randn(6, 24)}, tmp_path / "directions.safetensors")
    for kind in ("tokens", "bigrams", str(tmp_path / "directions.safetensors")):
        some = folders[:1] if kind.endswith(".safetensors") else [folders[0], folders[4]]
        answer = door(COMMAND, *some, "--features", kind)
        assert answer.code == 0, answer.err
        assert "solu + LN" in answer.out
        assert ("pseudo-features" in answer.out) == kind.endswith(".safetensors")


def test_a_text_of_ones_own_is_read(folders: list[Path], tmp_path: Path) -> None:
    save_file({"tokens": torch.randint(50, (200, 20))}, tmp_path / "text.safetensors")
    answer = door(COMMAND, folders[0], "--tokens", tmp_path / "text.safetensors", "--most", 5, "--json")
    assert answer.code == 0, answer.err
    assert len(tables(answer.json())["a feature of a model"]) == 5


def test_what_cannot_be_measured_is_refused_in_a_sentence(folders: list[Path], tmp_path: Path) -> None:
    save_file({"tokens": torch.full((200, 20), 50)}, tmp_path / "text.safetensors")
    save_file({"directions": torch.randn(6, 7)}, tmp_path / "short.safetensors")
    first = folders[0]
    config = json.loads((first / "config.json").read_text())

    def changed(name: str, **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, **settings}))
        (folder / "model.safetensors").write_bytes((first / "model.safetensors").read_bytes())
        return folder

    cases = [
        ([first, "--tokens", tmp_path / "text.safetensors"], 2, "expected tokens from 0 to 49"),
        ([first, "--features", tmp_path / "short.safetensors"], 2, "expected directions [feature, 24], got [6, 7]"),
        ([first, "--layer", "1"], 2, "layer: expected one from 0 to 0, got 1"),
        ([changed("gelu_new", act_fn="gelu_new")], 4, "act_fn: expected gelu or gelu_ln"),
        ([changed("wider", d_mlp=65)], 4, "model.safetensors: does not fit config.json"),
        ([*folders[:2], "--features", tmp_path / "short.safetensors"], 2, "directions are of one model"),
        ([changed("elsewhere", device="cuda")], 4, "config.json: 'device' is not read"),
        ([changed("large", d_model=2**20, n_heads=1, n_layers=2**10)], 4, "a model of its sizes has more than"),
        ([changed("rare", language={**config["language"], "density": 1e-9}), "--features", "latents"], 2, "none on in"),
        ([changed("spoken", language=None)], 2, "--tokens: needed for a model whose configuration names no"),
        ([first, changed("smaller", language={"seed": -1})], 4, "seed: expected a whole number"),
    ]
    for arguments, code, sentence in cases:
        answer = door(COMMAND, *arguments)
        assert answer.code == code, answer.err
        assert sentence in answer.err
