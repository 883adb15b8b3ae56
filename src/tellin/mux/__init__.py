# SPDX-License-Identifier: MIT
"""Connection sharing: what is said on a control socket (OpenSSH's PROTOCOL.mux, version 4), both ends."""
