"""The frozen hosts: trained models that come with the program, by name, the same bytes wherever it is installed.

So that they are listed at once: naming them takes no PyTorch. `toymodels.sweeps.results.hosting` opens them, and
docs/HOSTS.md says what they are.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def frozen() -> dict[str, Path]:
    """The files of the frozen hosts by name."""
    folder = Path(str(resources.files("toymodels.sweeps"))) / "hosts"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def is_name(of: str) -> bool:
    """Whether this can only be the name of a host: a path has a ``/``, or an end such as ``.safetensors``."""
    return "/" not in of and "." not in of
