"""Plotly's strict bundle, which draws the explorer: made without ``eval``, so that a page may forbid it.

plotly.js-strict-dist-min 4.1.1 from the npm registry, MIT licence (``plotly.LICENSE``), gzipped without a name
or a time (``gzip.compress(script, 9, mtime=0)``). For another version: put its file here so, and write
down its digests.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from toymodels.sweeps.errors import FolderError

VERSION = "4.1.1"
SHA256_GZIPPED = "0bbb53b0a475b99f59e4148ebe17dc63d0d760016b449814260ef62559a75fcd"
"""of the file here"""
SHA256 = "4ac841837b31c1bfd2ab140e3a248ddcc6c2106978fbf2c1c18a7aada930a37a"
"""of the script that is in it, which the page's policy lets run"""
STYLES = (
    "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",  # the empty one: sheets that it fills by rules
    "sha256-AR/cKIZjWPcPmBUPDA6oti9XBiTbJvz0Cro2J1VzzS8=",  # "image-rendering: ...", of heat maps
    "sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o=",  # a sheet for maps, put in whether or not there are any
)
"""Digests of the style sheets and attributes that it sets; the browser's console names one that is missing."""
PATH = Path(__file__).with_name("plotly-strict.min.js.gz")


def gzipped() -> bytes:
    """The script, gzipped. Raises `FolderError` where the file is not the one that this version came with."""
    script = PATH.read_bytes()
    if hashlib.sha256(script).hexdigest() != SHA256_GZIPPED:
        raise FolderError(f"{PATH}: not the file that toymodels came with: install it anew")
    return script
