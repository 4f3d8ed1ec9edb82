"""Tests of real transformers: there only where TransformerLens 4 is installed.

`make transformers` installs it, in an environment of its own, and runs these.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed() -> bool:
    """Whether this environment has a version that `toymodels[transformers]` asks for."""
    try:
        return int(version("transformer-lens").split(".")[0]) >= 4
    except PackageNotFoundError:
        return False


collect_ignore_glob: list[str] = [] if installed() else ["test_*.py"]
