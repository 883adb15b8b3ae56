# SPDX-License-Identifier: MIT
"""``ssh-keygen``: keys, certificates, signatures, lists of revoked keys, and files of known hosts."""
