# SPDX-License-Identifier: MIT
"""``ssh``: from its command line to the end of its session, with or without a master."""
