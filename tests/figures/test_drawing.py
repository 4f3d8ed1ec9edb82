"""Drawing: the same figures whatever the user's matplotlib is set to, and a lost figure costs the figure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from toymodels import figures
from toymodels.figures import tms_intro
from toymodels.sweeps.errors import SweepError
from toymodels.sweeps.results.reading import load

FIXED = ("train.steps=5", "train.batch=16", "eval.samples=256", "features.n=5", "seed=0")


def command(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings}
    whole = [sys.executable, "-m", "toymodels", *arguments]
    return subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its figure."""
    folder = tmp_path_factory.mktemp("drawn") / "run"
    done = command(folder.parent, "sweep", "tms_intro", "--out", "run", *(f"--set={setting}" for setting in FIXED))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "rc, backend",
    [
        (b"text.usetex: True\n", ""),
        (b"font.size: 30\naxes.facecolor: red\nsavefig.bbox: tight\n", "tkagg"),
        (b"figure.dpi: \xff\n", "agg"),
        (b"no: such\nfigure.dpi: many\n", "none_of_them"),
    ],
)
def test_the_same_bytes_whatever_matplotlib_is_set_to(drawn: Path, tmp_path: Path, rc: bytes, backend: str) -> None:
    (tmp_path / "rc").write_bytes(rc)
    settings = {"MATPLOTLIBRC": str(tmp_path / "rc"), "MPLBACKEND": backend}
    done = command(tmp_path, "figure", "tms_intro", str(drawn), "--out", "again", **settings)
    assert done.returncode == 0, done.stderr
    for suffix in ("svg", "png"):
        name = f"tms_intro.{suffix}"
        assert (tmp_path / "again" / name).read_bytes() == (drawn / name).read_bytes()


def test_the_users_settings_hold_again_afterwards(drawn: Path, tmp_path: Path) -> None:
    with mpl.rc_context({"text.usetex": True, "font.size": 30.0}):
        before = dict(mpl.rcParams)
        (svg, _) = figures.draw("tms_intro", load(drawn), tmp_path)
        assert dict(mpl.rcParams) == before
    assert svg.read_bytes() == (drawn / "tms_intro.svg").read_bytes()


def test_what_can_be_read_of_the_users_settings_is_read(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\n")
    program = """if True:
        from toymodels import figures
        from toymodels.sweeps.results.reading import load
        import sys, pathlib
        figures.draw("tms_intro", load(sys.argv[1]), pathlib.Path("again"))
        import matplotlib
        print(matplotlib.rcParams["font.size"], matplotlib.get_backend())"""
    settings = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": "pdf"}
    environment = {**os.environ, **settings}
    whole = [sys.executable, "-c", program, str(drawn)]
    done = subprocess.run(whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["30.0", "pdf"]


def test_a_figure_that_cannot_be_drawn_is_one_sentence(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_run: object) -> None:
        raise RuntimeError("no glyph")

    monkeypatch.setattr(tms_intro, "draw", fail)
    with pytest.raises(SweepError, match=r"^figure 'tms_intro' cannot be drawn \(RuntimeError: no glyph\)$") as lost:
        figures.draw("tms_intro", load(drawn), tmp_path)
    assert lost.value.exit_code == 1
    assert not [*tmp_path.iterdir()]
