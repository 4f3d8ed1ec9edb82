"""``toymodels measure-transformer`` on stand-ins: which models are compared, what is printed, and what is refused. What
is said of real transformers is in `tests/transformers`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Answer, door
from tests.transformers.stand_in import StandIn
from toymodels.sweeps.store import transformer_files
from toymodels.sweeps.store.transformer_files import read_transformer, write_transformer
from toymodels.sweeps.studies.transformer_arms import TransformerArm, unpaired
from toymodels.sweeps.studies.transformers import SHARES
from toymodels.transformers.language import Language

SIZES = {"d_model": 6, "d_head": 3, "n_heads": 2, "n_layers": 1, "n_ctx": 32, "d_vocab": 12, "d_mlp": 8}


def written(folder: Path, act_fn: str, seed: int | None, *, spoken: bool = True, **changes: Any) -> Path:
    """The folder of a stand-in."""
    language = Language(seed=seed or 0, tokens=12, latents=3, topic=3, density=0.15, run=6) if spoken else None
    bridge = StandIn({**SIZES, "act_fn": act_fn, "seed": seed, **changes})
    return write_transformer(folder / f"{act_fn}-{seed}-{len(changes)}-{spoken}", bridge, language)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Stand-ins are made in the place of bridges, and texts are short."""
    if "without_transformer_lens" not in request.node.name:
        monkeypatch.setattr(transformer_files, "native", StandIn)
    monkeypatch.setattr("toymodels.sweeps.studies.transformers.SEQUENCES", 64)


def measured(*arguments: object) -> Answer:
    return door("measure-transformer", *arguments)


def rows(document: Any, title: str) -> list[dict[str, Any]]:
    (of,) = (of for name, of in document["tables"].items() if name.startswith(title))
    return [dict(zip(of["columns"], row, strict=True)) for row in of["rows"]]


def test_arms_of_the_same_seeds_are_compared_model_by_model(tmp_path: Path) -> None:
    folders = [written(tmp_path, act_fn, seed) for act_fn in ("gelu_ln", "solu_ln") for seed in (3, 1, 2, 0)]
    said = measured(*folders, "--json").json()
    assert said["study"] == "measure-transformer"
    assert next(row["arm"] for row in rows(said, "an arm")) == "solu + LN"
    assert {row["seeds"] for row in rows(said, "an arm")} == {4}
    assert {row["minus"] for row in rows(said, "features of a model")} == {"gelu + LN", "each without SoLU"}
    assert {row["minus"] for row in rows(said, "the same of solu + LN")} == {"gelu + LN"}
    features = rows(said, "a feature of a model")
    assert [row["seed"] for row in features[:48:12]] == [0, 1, 2, 3]
    assert len(features) == 2 * 4 * 12
    assert measured(*reversed(folders), "--json").json() == said


def test_arms_of_other_seeds_are_not_compared(tmp_path: Path) -> None:
    for seeds in ((0, 2), (0, None)):
        folders = [
            *(written(tmp_path, "gelu", seed) for seed in (0, 1)),
            *(written(tmp_path, "solu_ln", s) for s in seeds),
        ]
        answer = measured(*folders, "--features", "bigrams", "--most", 6)
        assert "Arms do not have the same seeds, so they are not compared." in answer.out
        assert "minus those of another arm" not in answer.out


def test_models_of_one_seed_are_compared_only_where_they_have_one_language_and_the_same_features(
    tmp_path: Path,
) -> None:
    def folder(act_fn: str, **of: int) -> Path:
        language = Language(**{"seed": 0, "tokens": 12, "latents": 3, "topic": 3, **of})
        return write_transformer(tmp_path / act_fn, StandIn({**SIZES, "act_fn": act_fn, "seed": 0}), language)

    main = folder("solu_ln")
    for of in ({"seed": 1}, {"latents": 4}):
        answer = measured(main, folder("gelu_ln", **of), "--features", "bigrams", "--most", 6)
        assert answer.code == 0, answer.err
        assert "Models of one seed were trained on different languages, so arms are not compared." in answer.out
        assert "minus those of another arm" not in answer.out
    same = tuple(TransformerArm(name, (read_transformer(main),)) for name in ("a", "b"))
    assert unpaired(same, {"a": (("token 1",),), "b": (("token 1",),)}) == ""
    assert "different features" in unpaired(same, {"a": (("token 1",),), "b": (("token 2",),)})


def test_intervals_stay_where_the_numbers_can_be(tmp_path: Path) -> None:
    folders = [written(tmp_path, "gelu", seed) for seed in range(3)]
    of = {row["measure"]: row for row in rows(measured(*folders, "--json").json(), "an arm")}
    for name, row in of.items():
        assert name.startswith("affine substitution") or row["low"] >= 0, name
        assert row["high"] <= 1 or not (name in SHARES or name.startswith("R²")), name


def test_what_is_printed_says_what_it_rests_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file({"directions": torch.randn(4, 6)}, tmp_path / "d.safetensors")
    folder = written(tmp_path, "solu_ln", 0)
    answer = measured(folder, "--features", tmp_path / "d.safetensors")
    assert answer.code == 0, answer.err
    words = " ".join(answer.out.split())
    for sentence in ("pseudo-features", "ridge probe of post", "no claim about LayerNorm was tried at another"):
        assert sentence in words
    latents = measured(folder, "--features", "latents")
    assert latents.code == 0
    assert "pseudo-features" not in latents.out
    assert "solu + LN: " in latents.out


def test_a_text_of_ones_own_is_read_in_a_random_order_of_its_sequences(tmp_path: Path) -> None:
    save_file({"tokens": torch.randint(12, (80, 20))}, tmp_path / "t.safetensors")
    folder = written(tmp_path, "gelu", 0, spoken=False)
    answer = measured(folder, "--tokens", tmp_path / "t.safetensors", "--json")
    assert answer.code == 0, answer.err
    assert rows(answer.json(), "an arm")[0]["arm"] == "gelu"


def test_what_cannot_be_measured_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder, wider = written(tmp_path, "gelu", 0), written(tmp_path, "gelu", 1, d_mlp=9)
    silent = written(tmp_path, "gelu", 2, spoken=False)
    save_file({"tokens": torch.randint(13, (80, 20)) + 1}, tmp_path / "high.safetensors")
    save_file({"tokens": torch.rand(80, 20)}, tmp_path / "real.safetensors")
    save_file({"tokens": torch.zeros(5, 0, dtype=torch.int64)}, tmp_path / "empty.safetensors")
    save_file({"directions": torch.randn(4, 7)}, tmp_path / "wide.safetensors")
    save_file({"directions": torch.randn(0, 6)}, tmp_path / "no.safetensors")
    save_file({"directions": torch.randn(4, 6).to(torch.float8_e4m3fn)}, tmp_path / "small.safetensors")
    speak = {"tokens": 12, "topic": 3}
    other, mute = (
        write_transformer(tmp_path / f"{seed}", StandIn({**SIZES, "act_fn": "gelu", "seed": seed}), language)
        for seed, language in ((5, Language(5, latents=4, **speak)), (6, Language(6, density=1e-9, **speak)))
    )
    save_file({"directions": torch.full((4, 6), torch.nan)}, tmp_path / "nan.safetensors")
    (tmp_path / "text.safetensors").write_text("tokens")
    cases: list[tuple[list[object], int, str]] = [
        ([folder, wider], 2, "gelu: expected models of one size"),
        ([folder, folder], 2, "gelu: expected a seed of its own for each model"),
        ([written(tmp_path, "gelu", 3, n_ctx=16)], 2, "language: expected tokens from 0 to 11 in sequences of 2 to 16"),
        ([written(tmp_path, "gelu", 4, d_vocab=9)], 2, "language: expected tokens from 0 to 8"),
        ([silent], 2, "--tokens: needed for a model whose configuration names no synthetic language"),
        ([silent, "--features", "latents"], 2, "--tokens: needed"),
        ([folder, "--features", "words"], 2, "expected tokens, bigrams, latents or a file of directions"),
        ([folder, "--tokens", tmp_path / "high.safetensors"], 2, "expected tokens from 0 to 11"),
        ([folder, "--tokens", tmp_path / "real.safetensors"], 2, "expected whole numbers [sequence, position]"),
        ([folder, "--tokens", tmp_path / "wide.safetensors"], 4, "expected a tensor 'tokens', got directions"),
        ([folder, "--tokens", tmp_path / "text.safetensors"], 4, "no safetensors file"),
        ([folder, "--tokens", tmp_path / "none.safetensors"], 4, "none.safetensors: not there"),
        ([folder, "--features", tmp_path / "wide.safetensors"], 2, "expected directions [feature, 6], got [4, 7]"),
        ([folder, "--features", tmp_path / "nan.safetensors"], 4, "directions: expected finite numbers"),
        ([folder, "--tokens", tmp_path / "empty.safetensors"], 2, "expected whole numbers [sequence, position]"),
        ([folder, "--features", tmp_path / "no.safetensors"], 2, "expected directions [feature, 6], got [0, 6]"),
        ([folder, "--features", tmp_path / "small.safetensors"], 4, "int64, got float8_e4m3fn"),
        ([folder, other, "--features", tmp_path / "wide.safetensors"], 2, "directions are of one model"),
        ([folder, other, "--features", "latents"], 2, "gelu: expected models with equally many features, got from 3"),
        ([mute, "--features", "latents"], 2, "gelu: expected a language whose latents are on at times, got none"),
        ([folder, "--layer", "3"], 2, "layer: expected one from 0 to 0, got 3"),
        ([tmp_path], 4, "config.json: not there"),
    ]
    for arguments, code, sentence in cases:
        answer = measured(*arguments)
        assert answer.code == code, (answer.err, arguments)
        assert sentence in answer.err


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    for text, sentence in (("{", "no JSON"), ("[]", "expected an object"), ("{}", "lacks d_model, d_head")):
        folder = written(tmp_path, "gelu", 0)
        (folder / "config.json").write_text(text)
        answer = measured(folder)
        assert answer.code == 4
        assert f"config.json: {sentence}" in answer.err
    folder = written(tmp_path, "gelu", 0)
    config = json.loads((folder / "config.json").read_text())
    for changes, sentence in (
        ({"d_mlp": 9}, "does not fit config.json"),
        ({"language": {"seed": -1}}, "seed: expected a whole number"),
        ({"d_mlp": "many"}, "d_mlp: expected a whole number from 1"),
        ({"act_fn": "tanh"}, "act_fn: expected gelu or gelu_ln"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        answer = measured(folder)
        assert answer.code == 4, answer.err
        assert sentence in answer.err
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: each.clone() for name, each in StandIn({**SIZES, "act_fn": "gelu"}).state_dict().items()}
    tensors["unembed.bias"][2] = torch.inf
    save_file(tensors, folder / "model.safetensors")
    assert "unembed.bias: expected finite numbers" in measured(folder).err


def test_without_transformer_lens_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformer_lens", None)
    answer = measured(written(tmp_path, "gelu", 0))
    assert answer.code == 2
    assert "pip install 'toymodels[transformers]'" in answer.err
