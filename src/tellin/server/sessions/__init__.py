# SPDX-License-Identifier: MIT
"""The sessions of a login: what they may do, what they run, and what runs before it."""
