# SPDX-License-Identifier: MIT
"""Who may log in: accounts, keys, certificates and their authorities, passwords, and who is asked."""
