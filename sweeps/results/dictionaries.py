"""Dictionaries of others: what SAELens saves of each architecture as a `Dictionary`, and a `Dictionary` as it is saved.

With a an activation, a' = a less b_dec where the architecture takes that off, h = W_enc^T a' + b_enc:

    standard                          f = ReLU(h)
    topk                              f = ReLU(h) of the k largest h
    jumprelu                          f = ReLU(h) where h > threshold
    batchtopk, matryoshka_batchtopk   f = h where h > topk_threshold: as training left them, read as what SAELens makes
                                      of them afterwards, a jumprelu
    gated                             f = ReLU(e^r_mag W_enc^T a' + b_mag) where W_enc^T a' + b_gate > 0

and a_hat = W_dec^T f + b_dec. Each is f = h where h > a threshold of its own: gated ones too, with the magnitude as h,
as gate and magnitude share their weights (Rajamanoharan et al. 2024, *Improving Dictionary Learning with Gated Sparse
Autoencoders*). With ``rescale_acts_by_decoder_norm`` latents are measured in units of their directions' norms; these
are folded into W_enc and out of W_dec.

Everything else is refused by name: transcoders, which say one tap from another; ``temporal`` and ``matching_pursuit``,
which have no such encoder; activations that are normalised one by one, or by a factor that the files do not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toymodels.metrics.dictionaries import Dictionary
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.wording import one_of, short
from toymodels.sweeps.store import sae_files

OWN: Mapping[str, tuple[str, ...]] = {
    "standard": (),
    "topk": (),
    "jumprelu": ("threshold",),
    "batchtopk": ("topk_threshold",),
    "matryoshka_batchtopk": ("topk_threshold",),
    "gated": ("b_gate", "b_mag", "r_mag"),
}
"""The architectures that are read, each with the tensors that it has beside W_dec, W_enc and the biases."""
ALONE = "directions"
"""what stands for the architecture of a dictionary without an encoder"""
RESCALED = ("topk", "batchtopk", "matryoshka_batchtopk")
"""those of which ``rescale_acts_by_decoder_norm`` may be said"""
AS_WRITTEN = "6.0.0"
"""the version of SAELens whose layout is written"""
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "normalize_activations": ("none", None, False),
    "reshape_activations": ("none", None),
    "activation_fn": ("relu", None),
    "activation_fn_str": ("relu", None),
    "finetuning_scaling_factor": (False, None),
}
"""What else ``cfg.json`` may say, the last three of SAELens before 6: any other value changes f in a way that is not
read."""


@dataclass(frozen=True)
class ReadDictionary:
    """Somebody's dictionary for one model, and what it was read as."""

    path: Path
    architecture: str
    """of `OWN`, or `ALONE`"""
    dictionary: Dictionary
    notes: tuple[str, ...] = ()
    """what had to be taken for granted, a sentence each"""


def read_dictionary(path: Path, hidden: int) -> ReadDictionary:
    """The dictionary in a file in SAELens' layout, or in the folder that SAELens wrote, for ``hidden`` neurons.

    Without a configuration beside it, a file is read as SAELens' defaults have it: b_dec is taken off the activations,
    and the architecture is what its tensors say, without a ``k``. Biases that are not there are 0; without W_enc there
    are directions alone. Raises `SpecError` for what is not read.
    """
    where = sae_files.weights_in(path)
    config = sae_files.read_config(where)
    if config is not None:
        _check_config(where.with_name(sae_files.CONFIG), config)
    found = sae_files.read_tensors(where, hidden)
    if "W_enc" not in found:
        return _directions_alone(where, config, found)
    notes = list[str]()
    if config is None:
        config = {"architecture": _by_tensors(found)}
        notes.append(
            f"{where}: no {sae_files.CONFIG} beside it: read as '{config['architecture']}', with b_dec taken off the "
            "activations"
        )
    architecture = _architecture(config)
    _check_tensors(where, architecture, config, found)
    if lacking := [name for name in _biases(architecture) if name not in found]:
        notes.append(f"{where}: without {' and '.join(lacking)}: read as 0")
    tensors = {name: tensor.double() for name, tensor in found.items()}
    decoder, encoder = tensors["W_dec"], tensors["W_enc"].T
    b_dec, b_enc = (tensors.get(name, torch.zeros(1, dtype=torch.float64)) for name in ("b_dec", "b_enc"))
    taken_off = encoder @ b_dec.expand(hidden) if _flag(where, config, "apply_b_dec_to_input", default=True) else 0.0
    threshold: Tensor | None = None
    if architecture == "gated":
        factor = tensors["r_mag"].exp()
        encoder, bias = factor[:, None] * encoder, tensors["b_mag"] - factor * taken_off
        threshold = tensors["b_mag"] - factor * tensors["b_gate"]
    else:
        bias = b_enc.expand(len(encoder)) - taken_off
        threshold = tensors.get("threshold", tensors.get("topk_threshold"))
    if _flag(where, config, "rescale_acts_by_decoder_norm", default=False) and architecture in RESCALED:
        norm = decoder.norm(dim=1)
        encoder, bias, decoder = norm[:, None] * encoder, norm * bias, decoder / norm.clamp(min=1e-8)[:, None]
    if threshold is not None:
        threshold = threshold.clamp(min=0).expand(bias.shape)
    parts = (decoder.T, encoder, bias, b_dec.expand(hidden), threshold)
    single = [None if part is None else part.float().contiguous()[None] for part in parts]
    if not all(part.isfinite().all() for part in single if part is not None):
        raise SpecError(f"{where}: its encoder does not fit in float32")
    D, E, c, d, theta = single
    k = _k(where, config, len(bias)) if architecture == "topk" else None
    assert D is not None
    return ReadDictionary(where, architecture, Dictionary(D, E, c, d, k=k, threshold=theta), tuple(notes))


def save_dictionary(dictionary: Dictionary, folder: Path) -> Path:
    """Write a `Dictionary` of one model as SAELens 6 saves one, so that ``SAE.load_from_disk(folder)`` reads it.

    It is in units of the activations there: the dictionary's scale is folded into its tensors. Returns the path of the
    tensors, float32. Raises ``ValueError`` for another number of models, without an encoder, and for NaN or infinity.
    """
    if len(dictionary.decoder) != 1:
        got = len(dictionary.decoder)
        raise ValueError(f"dictionary: expected that of one model, such as dictionary[:1], got {got} models")
    if dictionary.encoder is None:
        raise ValueError("dictionary: expected one with an encoder, which SAELens' architectures have")
    hidden, latents = dictionary.decoder.shape[1:]
    scale = 1.0 if dictionary.scale is None else dictionary.scale[0]

    def bias(of: Tensor | None, size: int) -> Tensor:
        return torch.zeros(size) if of is None else of[0] * scale

    tensors = {
        "W_dec": dictionary.decoder[0].T,
        "W_enc": dictionary.encoder[0].T,
        "b_enc": bias(dictionary.encoder_bias, latents),
        "b_dec": bias(dictionary.decoder_bias, hidden),
    }
    config: dict[str, Any] = {
        "architecture": "standard",
        "d_in": hidden,
        "d_sae": latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": AS_WRITTEN},
    }
    if dictionary.threshold is not None:
        config["architecture"], tensors["threshold"] = "jumprelu", bias(dictionary.threshold, latents)
    elif dictionary.k is not None:
        config |= {"architecture": "topk", "k": int(dictionary.k[0]), "rescale_acts_by_decoder_norm": False}
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"dictionary: {name}: expected finite numbers in float32, got NaN or infinity")
    return sae_files.write(folder, tensors, config)


def _directions_alone(where: Path, config: Mapping[str, Any] | None, found: Mapping[str, Tensor]) -> ReadDictionary:
    """The directions of a dictionary without an encoder, of which no architecture may be said."""
    beside = sorted(found.keys() - {"W_dec", "b_dec"})
    if beside or config is not None:
        raise SpecError(f"{where}: {', '.join(beside) or sae_files.CONFIG} without W_enc: expected the encoder too")
    b_dec = found.get("b_dec")
    D = found["W_dec"].T.contiguous()[None]
    return ReadDictionary(where, ALONE, Dictionary(D, decoder_bias=None if b_dec is None else b_dec[None]))


def _by_tensors(found: Mapping[str, Tensor]) -> str:
    """The architecture of a file without a configuration: the first whose own tensors it has."""
    return next((name for name, own in OWN.items() if own and found.keys() >= set(own)), "standard")


def _architecture(config: Mapping[str, Any]) -> str:
    return str(config.get("architecture", "standard"))


def _biases(architecture: str) -> tuple[str, ...]:
    """Those that may be left out, and are 0 then."""
    return ("b_dec",) if architecture == "gated" else ("b_dec", "b_enc")


def _check_config(where: Path, config: Mapping[str, Any]) -> None:
    """Raise `SpecError` for an architecture that is not read, or with something about it that is not."""
    if _architecture(config) not in OWN:
        raise SpecError(f"{where}: architecture {short(config['architecture'], 40)} is not read: only {one_of(OWN)}")
    for key, plain in PLAIN.items():
        if config.get(key) not in plain:
            raise SpecError(f"{where}: {key} = {short(config[key], 40)} is not read: only {plain[0]!r}")


def _check_tensors(where: Path, architecture: str, config: Mapping[str, Any], found: Mapping[str, Tensor]) -> None:
    """Raise `SpecError` where these are not the tensors of the architecture, or not of the sizes that are said."""
    own = OWN[architecture]
    missing = [name for name in own if name not in found]
    extra = sorted(found.keys() - {"W_dec", "W_enc", *_biases(architecture), *own})
    if missing or extra:
        wrong = f"without {', '.join(missing)}" if missing else f"with {', '.join(extra)}"
        raise SpecError(f"{where}: {wrong}, which is not how the architecture '{architecture}' is saved")
    for key, size in zip(("d_sae", "d_in"), found["W_dec"].shape, strict=True):
        if config.get(key, size) != size:
            said = f"{key} = {short(config[key], 40)}"
            raise SpecError(f"{where}: {sae_files.CONFIG} beside it is of another: {said}, expected {size}")


def _flag(where: Path, config: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise SpecError(f"{where.with_name(sae_files.CONFIG)}: {key}: expected true or false, got {short(value, 40)}")
    return value


def _k(where: Path, config: Mapping[str, Any], latents: int) -> Tensor:
    k = config.get("k")
    if not (type(k) is int and 1 <= k <= latents):
        raise SpecError(
            f"{where.with_name(sae_files.CONFIG)}: k: expected a whole number from 1 to {latents}, got {short(k, 40)}"
        )
    return torch.tensor([k])
