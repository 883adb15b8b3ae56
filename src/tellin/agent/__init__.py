# SPDX-License-Identifier: MIT
"""The agent protocol (RFC 9987, OpenSSH's PROTOCOL.agent) without I/O: a keyring, and both ends of a talk."""
