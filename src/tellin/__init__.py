# SPDX-License-Identifier: MIT
"""tellin: the secure shell, in Python."""
