"""Dictionaries in SAELens' layout: each architecture against its equation written out in float64, and written again.

The same is asked of SAELens itself in tests/saelens.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from toymodels.metrics.dictionaries import Dictionary
from toymodels.sweeps.errors import DiskFull, SpecError
from toymodels.sweeps.results.dictionaries import OWN, read_dictionary, save_dictionary
from toymodels.sweeps.store.sae_files import CONFIG, SHAPES, WEIGHTS

HIDDEN, LATENTS, K = 5, 9, 3
SIZES = {"hidden": HIDDEN, "latent": LATENTS}
X = torch.randn(200, HIDDEN, generator=torch.Generator().manual_seed(1))
"""activations [sample, hidden], as SAELens has them"""


def tensors_of(architecture: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    biases = () if architecture == "gated" else ("b_enc",)
    g = torch.Generator().manual_seed(0)
    return {
        name: torch.randn([SIZES[axis] for axis in SHAPES[name]], generator=g).to(dtype)
        for name in ("W_dec", "W_enc", "b_dec", *biases, *OWN[architecture])
    }


def saved(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(dict(tensors), folder / WEIGHTS)
    if config is not None:
        (folder / CONFIG).write_text(json.dumps(config))
    return folder


def by_hand(architecture: str, t: Mapping[str, Tensor], *, taken_off: bool, rescaled: bool) -> tuple[Tensor, Tensor]:
    """The latents and the reconstruction of X, as the architecture's own paper or SAELens' documentation has them."""
    t = {name: each.double() for name, each in t.items()}
    a = X.double() - (t["b_dec"] if taken_off else 0)
    norm = t["W_dec"].norm(dim=1) if rescaled else torch.ones(LATENTS, dtype=torch.float64)
    if architecture == "gated":
        on = (a @ t["W_enc"] + t["b_gate"] > 0).double()
        f = on * (a @ (t["W_enc"] * t["r_mag"].exp()) + t["b_mag"]).relu()
    else:
        h = (a @ t["W_enc"] + t["b_enc"]) * norm
        f = h.relu()
        if architecture == "topk":
            kept = h >= h.sort(dim=1, descending=True).values[:, K - 1 : K]
            f = f * kept
        elif architecture != "standard":
            f = f * (h > t["topk_threshold" if "topk_threshold" in t else "threshold"])
    return f, (f / norm) @ t["W_dec"] + t["b_dec"]


def latents(dictionary: Dictionary) -> Tensor:
    return dictionary.encode(X.T[None])


@pytest.mark.parametrize("taken_off", [False, True])
@pytest.mark.parametrize("architecture", OWN)
def test_every_architecture_encodes_and_decodes_by_its_equation(
    tmp_path: Path, architecture: str, taken_off: bool
) -> None:
    for rescaled in (False, True) if "topk" in architecture else (False,):
        tensors = tensors_of(architecture)
        config = {
            "architecture": architecture,
            "apply_b_dec_to_input": taken_off,
            "rescale_acts_by_decoder_norm": rescaled,
            "k": K,
        }
        read = read_dictionary(saved(tmp_path / "sae", tensors, config), HIDDEN)
        assert (read.architecture, read.notes) == (architecture, ())
        f, a_hat = by_hand(architecture, tensors, taken_off=taken_off, rescaled=rescaled)
        found = latents(read.dictionary)
        assert 0.05 < (f > 0).double().mean() < 0.95
        assert torch.equal(found[0].T > 0, f > 0)
        torch.testing.assert_close(found[0].T.double(), f, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(read.dictionary.decode(found)[0].T.double(), a_hat, atol=1e-5, rtol=1e-5)
        # Written again it is the same dictionary, of an architecture that needs no flags.
        again = read_dictionary(save_dictionary(read.dictionary, tmp_path / "again").parent, HIDDEN)
        assert again.architecture == {"standard": "standard", "topk": "topk"}.get(architecture, "jumprelu")
        torch.testing.assert_close(latents(again.dictionary), found, atol=1e-5, rtol=1e-5)


def test_a_dictionary_is_written_in_units_of_the_activations(tmp_path: Path) -> None:
    """One of ours has a scale and shares a file with others: what is written reconstructs the same."""
    t, models = tensors_of("jumprelu"), 2
    ours = Dictionary(
        t["W_dec"].T.repeat(models, 1, 1),
        t["W_enc"].T.repeat(models, 1, 1),
        t["b_enc"].repeat(models, 1),
        t["b_dec"].repeat(models, 1),
        torch.tensor([2.5, 0.5]),
        threshold=t["threshold"].abs().repeat(models, 1),
    )
    for m in range(models):
        one = ours[m : m + 1]
        theirs = read_dictionary(save_dictionary(one, tmp_path / str(m)), HIDDEN).dictionary
        assert one.scale is not None
        torch.testing.assert_close(latents(theirs), latents(one) * one.scale, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(theirs.decode(latents(theirs)), one.decode(latents(one)), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"dictionary\[:1\], got 2 models"):
        save_dictionary(ours, tmp_path / "both")
    with pytest.raises(ValueError, match="with an encoder"):
        save_dictionary(Dictionary(ours.decoder[:1]), tmp_path / "none")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = tensors_of("standard", dtype)
    read = read_dictionary(saved(tmp_path / "sae", tensors, {"architecture": "standard"}), HIDDEN).dictionary
    f, _ = by_hand("standard", tensors, taken_off=True, rescaled=False)
    torch.testing.assert_close(latents(read)[0].T.double(), f, atol=1e-5, rtol=1e-5)


def test_a_file_alone_is_read_by_its_tensors_and_that_is_said(tmp_path: Path) -> None:
    for architecture in ("standard", "jumprelu", "gated", "batchtopk"):
        tensors = tensors_of(architecture)
        read = read_dictionary(saved(tmp_path / architecture, tensors, None) / WEIGHTS, HIDDEN)
        assert (read.architecture, len(read.notes)) == (architecture, 1)
        assert f"read as '{architecture}', with b_dec taken off" in read.notes[0]
        f, _ = by_hand(architecture, tensors, taken_off=True, rescaled=False)
        torch.testing.assert_close(latents(read.dictionary)[0].T.double(), f, atol=1e-5, rtol=1e-5)
    few = {name: tensors_of("standard")[name] for name in ("W_dec", "W_enc")}
    read = read_dictionary(saved(tmp_path / "few", few, None), HIDDEN)
    assert read.notes[1].endswith(": without b_dec and b_enc: read as 0")
    torch.testing.assert_close(latents(read.dictionary)[0].T, (X @ few["W_enc"]).relu(), atol=1e-5, rtol=1e-5)
    directions = {"W_dec": few["W_dec"]}
    read = read_dictionary(saved(tmp_path / "directions", directions, None), HIDDEN)
    assert (read.architecture, read.notes, read.dictionary.encoder) == ("directions", (), None)
    assert torch.equal(read.dictionary.decoder[0].T, few["W_dec"])


STANDARD = {"architecture": "standard"}
OTHERS = ["transcoder", "skip_transcoder", "jumprelu_transcoder", "temporal", "matching_pursuit", "of my own"]


@pytest.mark.parametrize(
    "architecture, change, config, said",
    [
        *(("standard", {}, {"architecture": name}, f"'{name}' is not read") for name in OTHERS),
        ("standard", {}, {"architecture": None}, "architecture None is not read"),
        ("standard", {}, {"architecture": ["topk"]}, r"architecture \['topk'\] is not read"),
        ("standard", {}, {**STANDARD, "normalize_activations": "layer_norm"}, "'layer_norm' is not read: only 'none'"),
        ("standard", {}, {**STANDARD, "normalize_activations": "expected_average_only_in"}, "is not read"),
        ("standard", {}, {**STANDARD, "reshape_activations": "hook_z"}, "reshape_activations = 'hook_z'"),
        ("standard", {}, {**STANDARD, "activation_fn_str": "tanh-relu"}, "activation_fn_str = 'tanh-relu'"),
        ("standard", {}, {**STANDARD, "finetuning_scaling_factor": True}, "finetuning_scaling_factor = True"),
        ("standard", {}, {**STANDARD, "apply_b_dec_to_input": 1}, "apply_b_dec_to_input: expected true or false"),
        ("standard", {}, {**STANDARD, "d_sae": 4}, f"d_sae = 4, expected {LATENTS}"),
        ("standard", {}, {**STANDARD, "d_in": [5]}, r"d_in = \[5\], expected 5"),
        ("jumprelu", {}, STANDARD, "with threshold, which is not how the architecture 'standard' is saved"),
        ("standard", {}, {"architecture": "jumprelu"}, "without threshold"),
        ("gated", {"b_enc": torch.zeros(LATENTS)}, {"architecture": "gated"}, "with b_enc"),
        ("gated", {"r_mag": torch.full((LATENTS,), 300.0)}, {"architecture": "gated"}, "does not fit in float32"),
        ("topk", {}, {"architecture": "topk"}, f"k: expected a whole number from 1 to {LATENTS}, got None"),
        ("topk", {}, {"architecture": "topk", "k": True}, "k: expected a whole number"),
        ("topk", {}, {"architecture": "topk", "k": LATENTS + 1}, "k: expected a whole number"),
        ("standard", {"W_enc": None}, STANDARD, "b_enc without W_enc"),
        ("standard", {"W_enc": None, "b_enc": None}, STANDARD, "cfg.json without W_enc"),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    tmp_path: Path, architecture: str, change: dict[str, Tensor | None], config: dict[str, Any], said: str
) -> None:
    tensors = {name: t for name, t in (tensors_of(architecture) | change).items() if t is not None}
    with pytest.raises(SpecError, match=said) as refused:
        read_dictionary(saved(tmp_path / "sae", tensors, config), HIDDEN)
    assert str(refused.value).startswith(str(tmp_path / "sae"))


@pytest.mark.parametrize(
    "file, config, said",
    [
        (CONFIG, {**STANDARD, "apply_b_dec_to_input": 1}, "apply_b_dec_to_input: expected"),
        (CONFIG, {"architecture": "topk"}, "k: expected"),
        (CONFIG, {"architecture": "temporal"}, "architecture 'temporal'"),
        (WEIGHTS, {"architecture": "jumprelu"}, "without threshold"),
    ],
)
def test_the_file_that_is_wrong_is_the_one_that_is_named(
    tmp_path: Path, file: str, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        read_dictionary(saved(tmp_path / "sae", tensors_of("standard"), config), HIDDEN)
    assert str(refused.value).startswith(f"{tmp_path / 'sae' / file}: {said}")


def one(**changed: Tensor) -> Dictionary:
    D = torch.randn(1, HIDDEN, LATENTS, generator=torch.Generator().manual_seed(2))
    return replace(Dictionary(D, D.transpose(1, 2), torch.zeros(1, LATENTS)), **changed)


def test_tied_and_double_dictionaries_are_written_in_single_precision(tmp_path: Path) -> None:
    square = torch.randn(1, HIDDEN, HIDDEN)
    for number, each in enumerate((one(), Dictionary(square, square), one(decoder=one().decoder.double()))):
        path = save_dictionary(each, tmp_path / str(number))
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float32}
        torch.testing.assert_close(read_dictionary(path, HIDDEN).dictionary.decoder, each.decoder.float())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e300])
def test_what_cannot_be_read_back_is_not_written_and_destroys_nothing(tmp_path: Path, bad: float) -> None:
    save_dictionary(one(k=torch.tensor([2])), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="b_enc: expected finite numbers in float32"):
        save_dictionary(one(encoder_bias=torch.full((1, LATENTS), bad, dtype=torch.float64)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("failing", range(9))
def test_a_save_that_stops_anywhere_leaves_one_whole_dictionary_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Every call that reaches the disk fails in turn: while the new one is written the old stays, then there is none
    for two renames."""
    save_dictionary(one(k=torch.tensor([2])), tmp_path)
    before, calls = {path.name: path.read_bytes() for path in tmp_path.iterdir()}, []

    def failing_at(name: str) -> None:
        real = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == failing + 1:
                raise OSError(errno.ENOSPC, "full")
            return real(*given, **named)

        monkeypatch.setattr(f"toymodels.sweeps.store.atomic.os.{name}", call)

    failing_at("fsync")
    failing_at("replace")
    with pytest.raises(DiskFull):
        save_dictionary(one(threshold=torch.ones(1, LATENTS)), tmp_path)
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    written = ["fsync", "replace", "fsync"]
    assert calls == [*written, *written, "replace", "replace", "fsync"][: failing + 1]
    assert there.keys() <= before.keys()
    if failing < 6:
        assert there == before
    elif failing < 8:
        assert WEIGHTS not in there
    else:
        assert read_dictionary(tmp_path, HIDDEN).architecture == "jumprelu"
