"""Tests of real transformers: collected where TransformerLens is installed, which is an environment of its own."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("transformer_lens") else ["test_*.py"]
