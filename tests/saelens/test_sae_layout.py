"""What SAELens saves, read: the same latents and reconstructions for each architecture; what is written, loaded."""

# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sae_lens
import torch
from sae_lens import SAE
from torch import Tensor

from toymodels.metrics.dictionaries import Dictionary, TopK, fit
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.results.dictionaries import OWN, read_dictionary, save_dictionary

pytestmark = pytest.mark.saelens

HIDDEN, LATENTS = 16, 40
X = torch.randn(500, HIDDEN, generator=torch.Generator().manual_seed(0))
SHAPE: dict[str, Any] = {"d_in": HIDDEN, "d_sae": LATENTS}
CASES = {
    "standard": ("StandardSAE", {}),
    "standard, in training": ("StandardTrainingSAE", {}),
    "topk": ("TopKSAE", {"k": 4}),
    "topk, by the decoder's norm": ("TopKSAE", {"k": 4, "rescale_acts_by_decoder_norm": True}),
    "topk, in training": ("TopKTrainingSAE", {"k": 4}),
    "jumprelu": ("JumpReLUSAE", {}),
    "jumprelu, in training": ("JumpReLUTrainingSAE", {}),
    "gated": ("GatedSAE", {}),
    "gated, in training": ("GatedTrainingSAE", {}),
    "batchtopk": ("BatchTopKTrainingSAE", {"k": 3}),
    "batchtopk, not by the decoder's norm": ("BatchTopKTrainingSAE", {"k": 3, "rescale_acts_by_decoder_norm": False}),
    "matryoshka_batchtopk": ("MatryoshkaBatchTopKTrainingSAE", {"k": 3, "matryoshka_widths": [10, LATENTS]}),
}
REFUSED = {
    "transcoder": ("Transcoder", {"d_out": HIDDEN, "apply_b_dec_to_input": False}),
    "skip_transcoder": ("SkipTranscoder", {"d_out": HIDDEN, "apply_b_dec_to_input": False}),
    "jumprelu_transcoder": ("JumpReLUTranscoder", {"d_out": HIDDEN, "apply_b_dec_to_input": False}),
    "matching_pursuit": ("MatchingPursuitSAE", {}),
    "normalised": ("StandardSAE", {"normalize_activations": "layer_norm"}),
    "normalised by an unknown factor": ("StandardSAE", {"normalize_activations": "expected_average_only_in"}),
    "heads": ("StandardSAE", {"reshape_activations": "hook_z"}),
}


def random_sae(name: str, settings: dict[str, Any]) -> Any:
    """An SAE of SAELens whose every number is drawn."""
    sae = getattr(sae_lens, name)(getattr(sae_lens, f"{name}Config")(**SHAPE, **settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
        if "topk_threshold" in sae.state_dict():
            sae.topk_threshold.fill_(0.7)
    return sae


@torch.no_grad()
def of_theirs(sae: Any) -> tuple[Tensor, Tensor]:
    """Latents and reconstruction of X, examples as columns."""
    f = sae.encode(X)
    return f.T[None], sae.decode(f).T[None]


def of_ours(dictionary: Dictionary) -> tuple[Tensor, Tensor]:
    f = dictionary.encode(X.T[None])
    return f, dictionary.decode(f)


def close(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("taken_off", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_architecture_gives_their_latents_and_reconstructions(tmp_path: Path, case: str, taken_off: bool) -> None:
    name, settings = CASES[case]
    sae = random_sae(name, {**settings, "apply_b_dec_to_input": taken_off})
    sae.save_model(tmp_path / "saved")
    read = read_dictionary(tmp_path / "saved", HIDDEN)
    assert (read.architecture, read.notes) == (case.partition(",")[0], ())
    if "Training" not in name:
        expected = of_theirs(SAE.load_from_disk(tmp_path / "saved"))
    else:  # what SAELens makes of it for use is what counts, and is read too
        sae.save_inference_model(tmp_path / "for use")
        expected = of_theirs(SAE.load_from_disk(tmp_path / "for use"))
        close(of_ours(read_dictionary(tmp_path / "for use", HIDDEN).dictionary), expected)
    assert 0.05 < (expected[0] > 0).float().mean() < 0.95
    close(of_ours(read.dictionary), expected)
    # and back: what is written of it, SAELens loads as the same
    save_dictionary(read.dictionary, tmp_path / "back")
    close(of_theirs(SAE.load_from_disk(tmp_path / "back")), expected)


def test_every_architecture_that_is_read_is_held_against_theirs() -> None:
    assert {case.partition(",")[0] for case in CASES} == OWN.keys()


@pytest.mark.parametrize("case", REFUSED)
def test_what_encodes_in_another_way_is_refused(tmp_path: Path, case: str) -> None:
    name, settings = REFUSED[case]
    random_sae(name, settings).save_model(tmp_path)
    with pytest.raises(SpecError, match="is not read"):
        read_dictionary(tmp_path, HIDDEN)


def test_one_of_ours_is_the_same_dictionary_there(tmp_path: Path) -> None:
    """Trained here, in units of its own (`Dictionary.scale`), and loaded by SAELens."""
    ours = fit(3 * X.T[None], TopK(4), LATENTS, [0], steps=50)
    save_dictionary(ours, tmp_path)
    theirs = SAE.load_from_disk(tmp_path)
    assert ours.scale is not None
    f = ours.encode(3 * X.T[None])
    with torch.no_grad():
        their_f = theirs.encode(3 * X)
        close((f * ours.scale, ours.decode(f)), (their_f.T[None], theirs.decode(their_f).T[None]))
