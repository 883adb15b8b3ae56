# SPDX-License-Identifier: MIT
"""One session: its requests and streams, its terminal with escapes and timing of keys, and its end."""
