# SPDX-License-Identifier: MIT
"""Which host keys to trust: what is on record, what proves a server, what is learnt from it, what is asked of many."""
