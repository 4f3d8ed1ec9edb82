"""Tests that need SAELens or TransformerLens, which the program does without: there only where these are installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("transformer_lens") else ["test_*.py"]
