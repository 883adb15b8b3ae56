# SPDX-License-Identifier: MIT
"""``tellin tunnel``: tunnels by their names, which come back by themselves."""
