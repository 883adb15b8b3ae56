# SPDX-License-Identifier: MIT
"""The transport protocol: identification, packets, negotiation, key exchange (RFC 4253)."""
