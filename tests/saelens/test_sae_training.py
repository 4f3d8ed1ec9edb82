"""SAELens as user and as oracle: it trains on a host's activations, and its scores of what it trained are ours."""

# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sae_lens
import torch
from sae_lens import SAE
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.synthetic import evals
from sae_lens.training.sae_trainer import SAETrainer
from sae_lens.util import cosine_similarities

import toymodels as tm
from tests.conftest import door
from toymodels.metrics.dictionaries import Dictionary, Scores, activations, score
from toymodels.sweeps.results.dictionaries import read_dictionary
from toymodels.sweeps.results.scoring import FIRST

pytestmark = pytest.mark.saelens

FEATURES, HIDDEN, SAMPLES = 24, 16, 8192
SWEEP = {
    "features": {"n": FEATURES, "density": 0.05, "values": "binary"},
    "model": {"hidden": HIDDEN, "activation": "gelu", "layer_norm": True, "tied": False, "output": "linear"},
    "train": {"steps": 1500, "batch": 256, "learning_rate": 0.01},
    "eval": {"samples": 4096},
}
KINDS = {
    "standard": ("StandardTrainingSAE", {"l1_coefficient": 0.2}),
    "batchtopk": ("BatchTopKTrainingSAE", {"k": 1.2}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tm.sweep(SWEEP, seeds=1, out=tmp_path_factory.mktemp("host") / "run", engine="autograd", progress=False)


@pytest.fixture(scope="module", params=KINDS)
def trained(run: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an SAE that SAELens has trained on the stream of a host, and saved for use."""
    name, settings = KINDS[request.param]
    torch.manual_seed(0)
    sae = getattr(sae_lens, name)(getattr(sae_lens, f"{name}Config")(d_in=HIDDEN, d_sae=FEATURES + 8, **settings))
    trainer = SAETrainer(
        SAETrainerConfig(
            n_checkpoints=0,
            checkpoint_path=None,
            save_final_checkpoint=False,
            total_training_samples=600_000,
            device="cpu",
            autocast=False,
            lr=3e-3,
            lr_end=3e-4,
            lr_scheduler_name="constant",
            lr_warm_up_steps=0,
            adam_beta1=0.9,
            adam_beta2=0.999,
            lr_decay_steps=0,
            n_restart_cycles=1,
            train_batch_size_samples=1024,
            dead_feature_window=100,
            feature_sampling_window=1000,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        data_provider=tm.host(run, 0).activations(batch=1024),
    )
    trainer.fit()
    folder = tmp_path_factory.mktemp(request.param)
    sae.save_inference_model(folder)
    return folder


class Both:
    """The same SAE on the same samples, there and here."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.host = tm.host(run, 0).models
        self.a, self.active = activations(self.host, "post", FIRST, SAMPLES)
        self.directions = self.host.directions("post")
        self.sae = SAE.load_from_disk(folder)
        self.ours = read_dictionary(folder, HIDDEN).dictionary
        with torch.no_grad():
            self.f = self.sae.encode(self.a[0].T)
            self.a_hat = self.sae.decode(self.f)

    @property
    def scores(self) -> Scores:
        return score(self.ours, self.a, self.active, self.directions)


def test_it_has_found_features(run: Any, trained: Path) -> None:
    """So that what follows is no comparison of noise."""
    found = Both(run, trained).scores
    assert found.mcc.item() > found.mcc_by_chance.item() + 0.1
    assert found.r2.item() > 0.7
    assert found.f1.nanmean().item() > 0.3


def test_latents_and_reconstructions_are_theirs(run: Any, trained: Path) -> None:
    both = Both(run, trained)
    f = both.ours.encode(both.a)
    torch.testing.assert_close(f[0].T, both.f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.ours.decode(f)[0].T, both.a_hat, atol=1e-5, rtol=1e-5)


def test_scores_are_theirs_where_the_definitions_are(run: Any, trained: Path) -> None:
    """MCC, uniqueness, L0, R^2, dead latents and the F1 over latents.

    Theirs is a mean over matched pairs and knows no dead latents; ours (`mcc_matched`) leaves these out, so it is the
    same where none is dead, and is asked of the living otherwise.
    """
    both = Both(run, trained)
    ours, alive = both.scores, (both.f > 0).any(0)
    decoder, truth, latents = both.sae.W_dec.detach(), both.directions[0].T, both.f
    assert truth.norm(dim=1).min() > 0
    mcc = evals.mean_correlation_coefficient(decoder[alive], truth)
    assert ours.mcc_matched.item() == pytest.approx(mcc, abs=1e-6)
    assert ours.uniqueness.item() == evals.feature_uniqueness(decoder, truth)
    found = evals.compute_classification_metrics(latents, both.active[0].T.float(), decoder, truth)
    assert ours.classification_f1.item() == pytest.approx(found.f1_score, abs=1e-6)
    l0, dead = evals.L0Calculator(), evals.DeadLatentsCalculator(len(decoder))
    l0.add_batch(latents)
    dead.add_batch(latents)
    explained = evals.ExplainedVarianceCalculator()
    explained.add_batch(both.a_hat, both.a[0].T)
    assert ours.l0.item() == pytest.approx(l0.compute(), abs=1e-6)
    assert ours.dead_latents.item() == dead.compute()
    assert ours.r2.item() == pytest.approx(explained.compute(), abs=1e-5)
    # and of any decoder whatever
    drawn = torch.randn(decoder.shape, generator=torch.Generator().manual_seed(0))
    of_drawn = score(Dictionary(drawn.T[None]), both.a, both.active, both.directions)
    assert of_drawn.mcc.item() == pytest.approx(evals.mean_correlation_coefficient(drawn, truth), abs=1e-6)


def test_where_definitions_differ_the_difference_is_what_the_page_says(run: Any, trained: Path) -> None:
    """Their precision, recall and F1 are a latent's, of the feature nearest to it; ours a feature's, of the latent
    matched to it. Where latent and feature are a mutual pair it is the same number. Their shrinkage is the mean of
    |a_hat| / |a|, ours the ratio of the means."""
    both = Both(run, trained)
    ours, decoder, truth = both.scores, both.sae.W_dec.detach(), both.directions[0].T.float()
    cosines = cosine_similarities(truth, decoder).abs()
    mutual = 0
    for i, latent in enumerate(ours.latent[0].tolist()):
        if latent < 0 or cosines[:, latent].argmax() != i or ours.f1[0, i].isnan():
            continue
        mutual += 1
        found = evals.compute_classification_metrics(
            both.f[:, [latent]], both.active[0].T.float(), decoder[[latent]], truth
        )
        for name, value in (("precision", found.precision), ("recall", found.recall), ("f1", found.f1_score)):
            assert getattr(ours, name)[0, i].item() == pytest.approx(value, abs=1e-6), (i, name)
    assert mutual > FEATURES / 2
    shrinkage = evals.ShrinkageCalculator()
    shrinkage.add_batch(both.a_hat, both.a[0].T)
    lengths = both.a_hat.norm(dim=1).double().mean() / both.a[0].T.norm(dim=1).double().mean()
    assert ours.shrinkage.item() == pytest.approx(lengths.item(), rel=1e-5)
    assert ours.shrinkage.item() == pytest.approx(shrinkage.compute(), abs=0.2)


def test_the_command_says_what_was_scored_here(run: Any, trained: Path) -> None:
    answer = door("score", run.path, 0, "--dictionary", trained, "--samples", SAMPLES, "--json")
    assert (answer.code, answer.err) == (0, "")
    (row,) = answer.json()["models"]
    ours = Both(run, trained).scores
    assert row["latents"] == FEATURES + 8
    for name in ("mcc", "mmcs", "uniqueness", "classification_f1", "l0", "r2", "shrinkage", "dead_latents"):
        assert row[name] == pytest.approx(getattr(ours, name).item(), rel=1e-6), name
