# SPDX-License-Identifier: MIT
"""Who the user is: the authentication protocol (RFC 4252, RFC 4256), both sides, without I/O."""
