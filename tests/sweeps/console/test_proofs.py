"""The proofs as they are printed: each truth beside the answer, the power table, and what ends with exit code 1."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from toymodels.cli import app
from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.power import SHORT, PowerPlan, PowerPoint
from toymodels.hypotheses.proving import Control, Proof
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.metrics.tiers import Tier
from toymodels.sweeps.console import proofs

TRUE = Proof(
    Control("two tiers", "plain", 24, counterparts=True),
    Answer.TWO_TIERS,
    "all",
    Status.SUPPORTED,
    {"P2": Status.SUPPORTED},
)
WRONG = replace(TRUE, control=Control("identity", "decoder", 32))
SIZES = {Tier.NEURON: 8.0, Tier.HIDDEN: 15.5}
ABSENT = PowerPoint(
    8, 0.0, False, {Answer.NO_SECOND_TIER: 45, Answer.TWO_TIERS: 2}, SIZES, "too few", {"P2 rescaled": 3}
)
PLANTED = PowerPoint(8, 1.0, False, {Answer.TWO_TIERS: 50}, SIZES, "P2, P3, P4 are supported", {})
TURNED = PowerPoint(8, 1.0, True, {Answer.NO_FIRST_TIER: 50}, SIZES, "too few", {})


@pytest.fixture
def proved(monkeypatch):
    """`toymodels verdict --controls`, of the proofs and points given: its exit code, what it prints, and the plan."""
    plans: list[PowerPlan] = []

    def run(*arguments: str, of: list[Proof] | None = None, points: list[PowerPoint] | None = None):
        monkeypatch.setattr(proofs, "prove", lambda _: iter(of or [TRUE]))
        monkeypatch.setattr(
            proofs, "power", lambda plan: plans.append(plan) or iter(points or [ABSENT, PLANTED, TURNED])
        )
        done = CliRunner().invoke(app, ["verdict", "--controls", *arguments], catch_exceptions=False)
        return done, plans

    return run


def test_every_truth_stands_beside_its_answer_and_every_share_beside_its_strength(proved):
    done, plans = proved()
    assert done.exit_code == 0, done.output
    first, right, _, *table = done.stdout.splitlines()
    said = (
        "two tiers, plain 24 neurons binary truth: two tiers answer: two tiers right (all; SoLU adds them: supported)"
    )
    assert first.split() == said.split()
    assert right == "1 of 1 right"
    assert "32 models of the primary regime" in table[0]
    columns = (
        "K strength not testable no first tier no second tier two tiers a continuum undetermined in neurons hidden"
    )
    assert table[1].split() == columns.split()
    assert table[2].split()[:10] == ["8", "0.00", "0%", "0%", "96%", "4%", "0%", "0%", "8.0", "15.5"]
    assert "rotated" in table[4]
    assert table[5] == "false two tiers at strength 0: 4.3% (5.0% at most) right"
    assert plans == [PowerPlan()]


def test_fewer_are_asked_for(proved):
    _, plans = proved("--short")
    assert plans == [SHORT]


@pytest.mark.parametrize(
    "of, points, said",
    [
        ([TRUE, WRONG], [ABSENT], "1 of 2 controls are wrong"),
        (
            [TRUE],
            [replace(ABSENT, answers={Answer.TWO_TIERS: 3, Answer.CONTINUUM: 47})],
            "strength 0: 0.060, 0.05 at most",
        ),
        ([TRUE], [replace(PLANTED, answers={Answer.CONTINUUM: 50})], "false continuum"),
        ([TRUE], [replace(ABSENT, permuted={"P3 gating": 16})], "permuted: 0.080, 0.075 at most"),
    ],
)
def test_what_is_wrong_ends_with_exit_code_1(proved, of, points, said):
    done, _ = proved(of=of, points=points)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "verdicts do not count" in done.stderr


def test_as_json_it_is_one_document_and_the_power_table_is_a_part_of_it(proved, tmp_path):
    done, _ = proved("--json", "--out", str(tmp_path / "proofs"), of=[TRUE, WRONG])
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert set(document) == {"controls", "wrong", "power", "right"}
    assert (document["wrong"], document["right"]) == (1, False)
    control = document["controls"][1]
    assert (control["construction"], control["variant"], control["neurons"]) == ("identity", "decoder", 32)
    assert (control["truth"], control["answer"], control["right"]) == (["not testable"], "two tiers", False)
    assert (document["controls"][0]["adds"], control["adds"]) == ("supported", None)
    power = document["power"]
    assert json.loads((tmp_path / "proofs" / "power.json").read_text()) == power
    assert power["points"][0]["answers"] == {"no second tier": 45 / 47, "two tiers": 2 / 47}
    assert [point["rotated"] for point in power["points"]] == [False, False, True]
    assert power["rates"]["false two tiers at strength 0"] == {"rate": 2 / 47, "most": 0.05}


def test_the_figure_has_a_panel_a_size_and_every_answer_in_its_legend(proved, tmp_path):
    done, _ = proved("--out", str(tmp_path), points=[ABSENT, replace(ABSENT, aligned=3), PLANTED, TURNED])
    assert done.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"power.json", "power.svg", "power.png"}
    assert str(tmp_path / "power.svg") in done.stdout
    comments = (tmp_path / "power.svg").read_text()
    ET.fromstring(comments)
    for said in (*(answer.value for answer in Answer), "K = 3", "47 verdicts a point", "K = 8", "rotated"):
        assert said in comments


@pytest.mark.parametrize("option", [["--short"], ["--out", "somewhere"]])
def test_options_of_the_controls_are_refused_without_them(option):
    done = CliRunner().invoke(app, ["verdict", "run", *option])
    assert done.exit_code == 2
    assert "are of --controls" in done.stderr
