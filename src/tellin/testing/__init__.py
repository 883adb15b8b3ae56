# SPDX-License-Identifier: MIT
"""Tools for testing what is built on tellin: two cores joined in memory, and a clock that is set by hand."""

from tellin.testing.loopback import Collector, Loopback, client_settings, server_settings

__all__ = ["Collector", "Loopback", "client_settings", "server_settings"]
