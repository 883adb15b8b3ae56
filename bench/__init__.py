# SPDX-License-Identifier: MIT
"""The benchmark: tellin beside OpenSSH, AsyncSSH and Paramiko, in one run, interleaved.

``python -m bench`` runs everything; ``--list`` names the parts and ``--only NAME`` picks one.
"""
