# SPDX-License-Identifier: MIT
"""``scp``, ``sftp`` and ``sftp-server``: files from one machine to another."""
