"""What every test shares: one thread profile, one hypothesis profile, small arms."""

from __future__ import annotations

import os

import torch
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# One thread, here and in the processes that tests start: two processes of two threads on two cores fight.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
