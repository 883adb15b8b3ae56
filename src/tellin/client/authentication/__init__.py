# SPDX-License-Identifier: MIT
"""Logging in: with which keys, certificates, agents and tokens, in which order, and what is asked of whom."""
