"""Tests that need SAELens or TransformerLens, which the program does without: there only where these are installed.

`make saelens` installs them, in an environment of its own, and runs these.
"""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob: list[str] = [] if find_spec("transformer_lens") else ["test_*.py"]
if not find_spec("sae_lens"):
    collect_ignore_glob.append("test_sae_*.py")
