"""What a release says of itself: one version, one licence and one author everywhere, and bounds that are tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
REQUIRED = {"cff-version", "message", "title", "authors"}
"""what the Citation File Format 1.2.0 asks for"""
ALLOWED = REQUIRED | {"abstract", "date-released", "keywords", "license", "type", "version"}
"""and of what else it allows, what is of use here"""


def pins(name: str) -> dict[str, str]:
    """The exact versions in a file of constraints, by package."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def required(*extras: str) -> dict[str, Requirement]:
    """What is needed, and what these extras need."""
    listed = [*PROJECT["dependencies"], *(each for name in extras for each in PROJECT["optional-dependencies"][name])]
    return {each.name: each for each in map(Requirement, listed) if each.name != "toymodels"}


def test_the_citation_is_a_citation_file_of_this_version() -> None:
    assert CITATION.keys() >= REQUIRED
    assert CITATION.keys() <= ALLOWED
    assert (CITATION["cff-version"], CITATION["type"]) == ("1.2.0", "software")
    assert CITATION["version"] == PROJECT["version"] == version("toymodels")
    assert CITATION["license"] == PROJECT["license"] == "MIT"
    assert CITATION["authors"] == PROJECT["authors"] == [{"name": "toymodels developers"}]
    assert CITATION["keywords"] == PROJECT["keywords"]


def test_the_newest_version_in_the_changelog_is_this_one() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+), (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
    assert CITATION.get("date-released", newest[2]) in (newest[2], None)


def test_classifiers_name_the_versions_of_python_that_are_allowed() -> None:
    named = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", each)]
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert named == ["3.11", "3.12", "3.13"]
    assert not any(each.startswith("License ::") for each in PROJECT["classifiers"])  # `license` says it


def test_lowest_constraints_are_the_lower_bounds() -> None:
    lowest, wanted = pins("constraints-lowest.txt"), required("cluster", "test")
    assert lowest.keys() == wanted.keys()
    for name, requirement in wanted.items():
        bounds = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
        assert bounds == [Version(lowest[name])], name


def test_pinned_versions_are_allowed() -> None:
    pinned = pins("constraints.txt") | pins("constraints-transformers.txt")
    for name, requirement in required(*PROJECT["optional-dependencies"]).items():
        assert requirement.specifier.contains(pinned[name]), name


FROM_GIT = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an sdist is built from what git tracks")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this tree, and the wheel from its unpacked copy, as the build's hooks make them."""
    folder = tmp_path_factory.mktemp("built")
    name = build("build_sdist", ROOT, folder)
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder, filter="data")  # as installers unpack it: a link that led outside would be refused
    unpacked = folder / name.removesuffix(".tar.gz")
    build("build_wheel", unpacked, folder)
    return folder


def build(hook: str, tree: Path, folder: Path, **environment: str) -> str:
    """Call a hook of the build in a tree; returns the name of what it made in a folder."""
    call = "import sys, build_backend as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    made = subprocess.run(
        [sys.executable, "-c", call, hook, folder],
        cwd=tree,
        env=os.environ | environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return made.stdout.split()[-1]


def time_of(wheel: Path) -> float:
    """The one time of everything in a wheel, in seconds since 1970."""
    (time,) = {entry.date_time for entry in zipfile.ZipFile(wheel).infolist()}
    return datetime(*time, tzinfo=UTC).timestamp()


def git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=True, text=True).stdout


def tracked() -> set[str]:
    return set(git("ls-files", "-z").split("\0")) - {""}


@FROM_GIT
def test_an_sdist_is_the_tree_with_its_links(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        members = {member.name.partition("/")[2]: member for member in opened.getmembers()}
    assert members.keys() == tracked() | {"PKG-INFO", "SOURCE_DATE_EPOCH"}
    links = {name: member.linkname for name, member in members.items() if member.issym()}
    assert links == {f"toymodels/{name}": f"../{name}" for name in ("cli.py", "figures", "sweeps")}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members.values()} == {(0, 0, "", "")}
    assert len({member.mtime for member in members.values()}) == 1


@FROM_GIT
def test_the_wheel_from_it_has_every_module_and_sweep_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    parts = {name for name in tracked() if name.startswith(("toymodels/", "sweeps/", "figures/")) or name == "cli.py"}
    parts -= {f"toymodels/{name}" for name in ("cli.py", "figures", "sweeps")}
    assert time_of(wheel) // 2 == int(git("log", "-1", "--format=%ct")) // 2  # zip counts by two
    assert names == {name if name.startswith("toymodels/") else f"toymodels/{name}" for name in parts}


@FROM_GIT
@pytest.mark.parametrize("around", ["nothing", "another repository", "a repository that git refuses"])
def test_a_wheel_is_built_where_git_has_no_answer(
    built: Path, tmp_path: Path, around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an archive of the tree; where nobody knows its time, the wheel says the earliest that it can."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (sdist,) = built.glob("*/SOURCE_DATE_EPOCH")
    tree = shutil.copytree(sdist.parent, tmp_path / "tree", symlinks=True)
    for name in ("PKG-INFO", "SOURCE_DATE_EPOCH"):
        (tree / name).unlink()
    if around == "another repository":
        author = ("-c", "user.name=other", "-c", "user.email=other@example.com")
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "Begin"], cwd=tmp_path, check=True)
    elif around == "a repository that git refuses":
        (tree / ".git").write_text("gitdir: nowhere")
    assert time_of(tmp_path / build("build_wheel", tree, tmp_path)) == datetime(1980, 1, 1, tzinfo=UTC).timestamp()
    said = datetime(2001, 1, 1, tzinfo=UTC).timestamp()
    wheel = build("build_wheel", tree, tmp_path, SOURCE_DATE_EPOCH=f"{said:.0f}")
    assert time_of(tmp_path / wheel) == said
