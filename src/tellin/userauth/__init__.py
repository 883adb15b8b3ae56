# SPDX-License-Identifier: MIT
"""Who the user is: the authentication protocol (RFC 4252, RFC 4256), both sides, without I/O.

Nothing is imported here: a program needs one half, and ``ssh`` should not wait for the server's.
"""
