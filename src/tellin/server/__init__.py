# SPDX-License-Identifier: MIT
"""A server for the system's accounts and for programs' own: who may in, and what they get."""
