"""Hosts: layers of neurons whose features are known, for whatever measures them. See `toymodels.hosts.host`."""

from __future__ import annotations

from toymodels.examples import Examples
from toymodels.hosts.host import Host
from toymodels.hosts.models import Models

__all__ = ["Examples", "Host", "Models"]
