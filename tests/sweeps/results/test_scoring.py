"""Scoring the dictionaries of a run: perfect ones, permuted ones, and what is a mean over what."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import TINIER
from toymodels.hosts import Models
from toymodels.hosts.streaming import BEGINS
from toymodels.metrics.dictionaries import Dictionary, activations, score
from toymodels.metrics.dictionaries.scores import BY_FEATURE
from toymodels.metrics.evaluation import MAX_SAMPLES
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.execution.run import run as execute
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.dictionaries import save_dictionary
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.results.scoring import FIRST, OF_FEATURES, OF_LATENTS, OF_MODELS, score_run
from toymodels.sweeps.spec.sweep import parse

N, SAMPLES = 6, 2000


def host(run: Run, model: int) -> Models:
    loaded = run.model(model)
    return Models([loaded.experiment], loaded.parameters)


def perfect(run: Run, model: int) -> Dictionary:
    """The truth as a dictionary, of an encoder that reads each direction."""
    of = host(run, model)
    D = of.directions("post")
    return Dictionary(D, D.transpose(1, 2), decoder_bias=of.rest().post[:, :, 0])


@pytest.fixture(scope="module")
def tiered(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run, whose features have been put into tiers by hand: 0 neuron, 1 and 2 hidden, 3 and 4 lost, 5 none."""
    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("tiered") / "run"))
    features = pd.read_parquet(folder / "features.parquet")
    tiers = ["neuron", "hidden", "hidden", "lost", "lost", None]
    features.assign(tier=tiers * (len(features) // N)).to_parquet(folder / "features.parquet")
    return load(folder)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("signed") / "run"
    text = TINIER.replace("density = 0.3", "density = 0.3\nsigned = true")
    execute(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def test_the_truth_scores_1_and_its_order_does_not_matter(tiered: Run, tmp_path: Path) -> None:
    truth = perfect(tiered, 4)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert truth.encoder is not None
    shuffled = Dictionary(truth.decoder[:, :, order], truth.encoder[:, order], decoder_bias=truth.decoder_bias)
    found = []
    for name, each in {"truth": truth, "shuffled": shuffled}.items():
        save_dictionary(each, tmp_path / name)
        found.append(score_run(tiered, tmp_path / name, 4, "post", SAMPLES))
        (row,) = found[-1].models.to_dict("records")
        assert row["mcc"] == pytest.approx(1, abs=1e-6)
        assert row["mmcs"] == pytest.approx(1, abs=1e-6)
        assert (row["uniqueness"], row["latents"], row["architecture"]) == (1, N, "standard")
        assert row["mcc_by_chance"] < 1
    same = [column for column in found[0].features.columns if column != "latent"]
    pd.testing.assert_frame_equal(found[0].features[same], found[1].features[same], rtol=1e-5)
    assert found[1].features["latent"].map(order.tolist().__getitem__).tolist() == found[0].features["latent"].tolist()


def test_tables_are_what_the_scores_are_and_tiers_their_means(tiered: Run, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(1)
    paths = {}
    for m in (1, 6):
        d = Dictionary(torch.randn(1, 2, 9, generator=g), torch.randn(1, 9, 2, generator=g))
        paths[m] = save_dictionary(d, tmp_path / str(m))
    found = score_run(tiered, tmp_path, None, "mid", SAMPLES)
    assert found.models["model"].tolist() == [1, 6]
    assert found.models["dictionary"].tolist() == [str(path) for path in paths.values()]
    g = torch.Generator().manual_seed(1)
    for m in (1, 6):
        d = Dictionary(torch.randn(1, 2, 9, generator=g), torch.randn(1, 9, 2, generator=g))
        a, active = activations(host(tiered, m), "mid", FIRST, SAMPLES)
        norm = host(tiered, m).bottleneck.layer_norm is not None
        truth = score(d, a, active, host(tiered, m).directions("mid"), up_to_common=norm)
        (of_model,) = found.models[found.models["model"] == m].to_dict("records")
        assert of_model["active_features"] == active.double().sum(1).mean().item()
        for name in OF_MODELS:
            assert of_model[name] == pytest.approx(getattr(truth, name).item(), rel=1e-5)
        rows = found.features[found.features["model"] == m]
        for name in BY_FEATURE:
            assert rows[name].tolist() == pytest.approx(getattr(truth, name)[0].tolist(), rel=1e-4, nan_ok=True)
        tiers = {row["tier"]: row for row in found.tiers[found.tiers["model"] == m].to_dict("records")}
        assert {tier: row["features"] for tier, row in tiers.items()} == {"all": 6, "neuron": 1, "hidden": 2, "lost": 2}
        members = {"all": range(6), "neuron": [0], "hidden": [1, 2], "lost": [3, 4]}
        for tier, which in members.items():
            for name, column in OF_FEATURES.items():
                mean = getattr(truth, column)[0, list(which)].nanmean().item()
                assert tiers[tier][name] == pytest.approx(mean, rel=1e-4, nan_ok=True)
        for name in OF_FEATURES:
            assert of_model[name] == pytest.approx(tiers["all"][name], nan_ok=True)


def test_before_a_layer_norm_what_is_common_to_all_neurons_counts_for_nothing(tiered: Run, tmp_path: Path) -> None:
    normed = [m for m in range(8) if host(tiered, m).bottleneck.layer_norm is not None]
    assert 0 < len(normed) < 8
    scored = {}
    for name, added in {"as it is": 0, "moved": 1}.items():
        (tmp_path / name).mkdir()
        for m in range(8):
            D = host(tiered, m).directions("mid") + added * torch.linspace(-1, 1, N)
            save_file({"W_dec": D[0].T.contiguous()}, tmp_path / name / f"{m}.safetensors")
        scored[name] = score_run(tiered, tmp_path / name, None, "mid", 64)
    plain, moved = (each.models["mcc"] for each in scored.values())
    assert moved[normed].tolist() == pytest.approx(plain[normed].tolist(), abs=1e-5)
    assert (moved < plain - 0.001).drop(normed).all()
    said, of_directions = scored["moved"].notes
    assert said.startswith("where a LayerNorm reads the tap")
    assert score_run(tiered, tmp_path / "moved", None, "post", 64).notes == [of_directions]


def test_a_dictionary_that_says_little_of_the_activations_is_asked_where_it_is_from(
    tiered: Run, tmp_path: Path
) -> None:
    """Of the model's own activations it explains them; of another tap, or another model's, nothing in it tells."""
    a, _ = activations(host(tiered, 0), "post", 0, 512)
    basis, _, _ = torch.linalg.svd((a - a.mean(2, keepdim=True))[0].double(), full_matrices=False)
    both = torch.cat([basis, -basis], 1).float()[None]
    own = Dictionary(both, both.transpose(1, 2), -(both * a.mean(2)[:, :, None]).sum(1), a.mean(2))
    for m, scale in ((0, 1), (1, 0.1), (2, 3)):
        save_dictionary(dataclasses.replace(own, decoder=scale * own.decoder), tmp_path / str(m))
    found = score_run(tiered, tmp_path, 0, "post", 512)
    assert found.models["r2"].item() == pytest.approx(1, abs=1e-4)
    assert found.notes == []
    (note,) = score_run(tiered, tmp_path, None, "pre", 512).notes
    assert note.startswith("models 1, 2: less than 20% of the variance of the activations at pre is in")


def test_of_directions_alone_it_is_said_that_nothing_tells_where_they_are_from(tiered: Run, tmp_path: Path) -> None:
    """In one sentence for all that have no encoder; what it calls blank is what is undefined."""
    save_dictionary(perfect(tiered, 0), tmp_path / "0")
    for m in (1, 3):
        save_file({"W_dec": host(tiered, 4).directions("pre")[0].T.contiguous()}, tmp_path / f"{m}.safetensors")
    found = score_run(tiered, tmp_path, None, "post", 256)
    (note,) = (note for note in found.notes if "directions" in note)
    assert note.startswith("models 1, 3: directions alone are scored, as there is no encoder: f1, precision, ")
    assert note.endswith("are blank, and nothing tells whether the dictionary is of this model and this tap")
    (alone,) = found.models[found.models["model"] == 1].to_dict("records")
    assert alone["architecture"] == "directions"
    assert [name for name in (*OF_FEATURES, *OF_MODELS) if pd.isna(alone[name])] == list(OF_LATENTS)
    (of_one,) = score_run(tiered, tmp_path, 1, "post", 256).notes
    assert of_one.startswith("model 1: directions alone")
    assert not any("directions" in note for note in score_run(tiered, tmp_path, 0, "post", 256).notes)


def test_tiers_stand_in_their_own_order(tiered: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiered.path, tmp_path / "run"))
    features = pd.read_parquet(folder / "features.parquet")
    features.assign(tier=["lost", "hidden", None, "neuron", "hidden", "lost"] * (len(features) // N)).to_parquet(
        folder / "features.parquet"
    )
    save_dictionary(perfect(tiered, 0), tmp_path / "sae")
    tiers = score_run(load(folder), tmp_path / "sae", 0, "post", 64).tiers
    assert tiers["tier"].tolist() == ["all", "neuron", "hidden", "lost"]
    assert tiers["features"].tolist() == [6, 1, 2, 2]


def test_all_files_are_looked_at_before_any_is_scored(tiered: Run, tmp_path: Path) -> None:
    save_dictionary(perfect(tiered, 0), tmp_path / "0")
    (tmp_path / "1").mkdir()
    said: list[str] = []
    with pytest.raises(SpecError, match=r"1/sae_weights\.safetensors: there is no such file"):
        score_run(tiered, tmp_path, None, "post", 64, said.append)
    assert not said


def test_more_samples_than_fit_in_memory_are_refused(
    tiered: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dictionary(perfect(tiered, 0), tmp_path / "0")
    memory = SimpleNamespace(available=2**20)
    monkeypatch.setattr("toymodels.sweeps.results.scoring.psutil.virtual_memory", lambda: memory)
    with pytest.raises(SpecError, match=r"--samples: 100,000 of 2 neurons take .* give at most 26,") as refused:
        score_run(tiered, tmp_path, None, "post", 100_000)
    most = int(str(refused.value).rsplit(" ", 1)[1].replace(",", ""))
    assert len(score_run(tiered, tmp_path, None, "post", most).models) == 1


def test_sides_of_signed_features_are_scored_each(signed: Run, tmp_path: Path) -> None:
    truth = perfect(signed, 0)
    save_dictionary(truth, tmp_path / "both")
    found = score_run(signed, tmp_path / "both", 0, "post", SAMPLES)
    assert found.features["side"].tolist() == ["+"] * N + ["-"] * N
    assert found.features["feature"].tolist() == [*range(N)] * 2
    tiers = signed.rows("features", [0], ["tier"])["tier"].tolist()
    assert found.features["tier"].tolist() == tiers * 2
    assert found.tiers.iloc[0]["features"] == 2 * N
    assert truth.encoder is not None
    half = Dictionary(truth.decoder[:, :, :N], truth.encoder[:, :N], decoder_bias=truth.decoder_bias)
    save_dictionary(half, tmp_path / "half")
    one_side = score_run(signed, tmp_path / "half", 0, "post", SAMPLES).features
    assert (one_side["latent"] >= 0).sum() <= N
    assert one_side["cosine"].mean() < found.features["cosine"].mean() - 0.1


def test_what_is_scored_is_neither_streamed_nor_measured_on() -> None:
    assert MAX_SAMPLES < FIRST
    assert FIRST + 10_000_000 < BEGINS


def test_where_the_dictionary_of_a_model_may_be(tiered: Run, tmp_path: Path) -> None:
    folder = tmp_path / "of all"
    file = save_dictionary(perfect(tiered, 2), folder / "2")
    shutil.copy(file, folder / "00007.safetensors")
    (folder / "notes.txt").write_text("nobody's")

    def models(path: Path, model: int | None) -> list[int]:
        return score_run(tiered, path, model, "post", 64).models["model"].tolist()

    assert models(file, 2) == models(file.parent, 2) == models(folder, 2) == [2]
    assert models(folder, None) == [2, 7]
    with pytest.raises(SpecError, match="say of which MODEL it is"):
        models(file, None)
    with pytest.raises(SpecError, match="nowhere: there is no such file or folder"):
        models(tmp_path / "nowhere", None)
    with pytest.raises(SpecError, match=r"no dictionary of model 4: expected 4/sae_weights.safetensors"):
        models(folder, 4)
    with pytest.raises(SpecError, match="MODEL: expected one from 0 to 7"):
        models(folder, 8)
    with pytest.raises(SpecError, match="there is no such file"):
        models(folder / "none.safetensors", 0)
    with pytest.raises(SpecError, match="expected 'pre', 'mid' or 'post', got 'out'"):
        score_run(tiered, file, 2, "out", 64)
    shutil.copy(file, folder / "2.safetensors")
    with pytest.raises(SpecError, match="both of model 2"):
        models(folder, None)
    (folder / "2.safetensors").rename(folder / "8.safetensors")
    with pytest.raises(SpecError, match=r"there is no model 8: .* has models 0 to 7"):
        models(folder, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match="has neither sae_weights"):
        models(tmp_path / "empty", None)


def test_a_diverged_model_has_nothing_to_be_found(tiered: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiered.path, tmp_path / "run"))
    models = pd.read_parquet(folder / "models.parquet")
    models.loc[models["model"] == 5, "status"] = "diverged"
    models.to_parquet(folder / "models.parquet")
    for m in (4, 5):
        save_dictionary(perfect(tiered, m), tmp_path / "sae" / str(m))
    found = score_run(load(folder), tmp_path / "sae", None, "post", 64)
    assert (found.models["model"].tolist(), found.notes[0]) == ([4], "left out, as they diverged: models 5")
    with pytest.raises(FolderError, match="model 5 diverged"):
        score_run(load(folder), tmp_path / "sae", 5, "post", 64)
    shutil.rmtree(tmp_path / "sae" / "4")
    with pytest.raises(FolderError, match="every model with a dictionary diverged"):
        score_run(load(folder), tmp_path / "sae", None, "post", 64)
