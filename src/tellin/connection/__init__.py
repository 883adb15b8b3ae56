# SPDX-License-Identifier: MIT
"""The connection protocol: channels, windows and requests (RFC 4254)."""
