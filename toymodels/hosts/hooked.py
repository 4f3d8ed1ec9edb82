"""The layer as a TransformerLens module: `run_with_cache`, `run_with_hooks` and what else a ``HookedRootModule`` has.

Only imported where transformer_lens (3 or newer) is installed and such a module is asked for.
"""

from __future__ import annotations

from transformer_lens import HookedRootModule  # pyright: ignore[reportMissingImports]
from transformer_lens.hook_points import HookPoint  # pyright: ignore[reportMissingImports]

from toymodels.bottleneck import Bottleneck, Parameters
from toymodels.hosts.module import HookedLayer


class TransformerLensLayer(HookedLayer, HookedRootModule):
    """A `HookedLayer` whose places for hooks are ``HookPoint``s, listed in ``hook_dict``."""

    def __init__(self, bottleneck: Bottleneck, parameters: Parameters) -> None:
        super().__init__(bottleneck, parameters, HookPoint)
        self.setup()
