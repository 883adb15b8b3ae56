# SPDX-License-Identifier: MIT
"""The named methods: ciphers, MACs, key exchanges, signatures, compression. Each is a row in a table."""
