"""What measuring takes beside training: that the program works where there is no GPU, and what its shares are of."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # benchmarks are in no wheel

from benchmarks import shares  # noqa: E402
from toymodels.hypotheses.predictions import p9_harder_to_find  # noqa: E402
from toymodels.metrics.dictionaries import choose, fit  # noqa: E402


def test_shares_are_of_training_and_measuring_together() -> None:
    rest = dict.fromkeys(shares.WHAT[1:], 0.5)
    found = shares.shares({"training": 6.0} | rest, {name: 9 * each for name, each in rest.items()})
    assert found["there"] == pytest.approx({"training": 0.75} | dict.fromkeys(rest, 0.0625))
    assert found["cpu"] == pytest.approx({"training": 0.25} | dict.fromkeys(rest, 0.1875))
    assert shares.shares({"training": 6.0} | rest, {"battery": 9.0}).keys() == {"there"}


def test_the_program_works_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p9_harder_to_find, "fit", partial(fit, steps=20))
    monkeypatch.setattr(p9_harder_to_find, "choose", partial(choose, steps=20))
    shares.main(["--device", "cpu", "--tiny", "--engine", "autograd", "--out", str(tmp_path)])
    (record,), (page,) = tmp_path.glob("shares-*-tiny.json"), tmp_path.glob("shares-*-tiny.md")
    seconds = json.loads(record.read_text())["seconds"]
    assert seconds["there"].keys() == {"training", *seconds["cpu"]}
    assert len(seconds["cpu"]) == 4
    assert min(*seconds["there"].values(), *seconds["cpu"].values()) > 0
    said = page.read_text()
    for each in ("nothing follows about speed", "| dictionaries | ", "All but training: "):
        assert each in said, each


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--engine", "gpuu"], "got 'gpuu'"),
        (["--device", "cuda"], "this machine has no GPU that torch can use"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_timed(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        shares.main(["--device", "cpu", "--tiny", "--out", str(tmp_path), *options])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p9_harder_to_find, "fit", partial(fit, steps=20))
    monkeypatch.setattr(p9_harder_to_find, "choose", partial(choose, steps=20))
    arguments = ["--device", "cpu", "--tiny", "--engine", "autograd", "--minutes", "0", "--out", str(tmp_path)]
    shares.main(arguments)
    (record,), (page,) = tmp_path.glob("shares-*-tiny.json"), tmp_path.glob("shares-*-tiny.md")
    found = json.loads(record.read_text())
    assert found["shares"] == {}
    assert found["seconds"]["there"].keys() == {"training"}
    assert found["seconds"]["cpu"] == {}
    assert len(found["left_out"]) == 8
    assert "Not begun, as the time was up: a pack's measures, battery, " in page.read_text()
