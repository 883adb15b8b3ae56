# SPDX-License-Identifier: MIT
"""``ssh-agent`` and ``ssh-add``, and the helpers that alone touch tokens."""
