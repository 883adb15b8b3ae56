# SPDX-License-Identifier: MIT
"""The client: which host key to trust, which keys to try, how to log in, and one session.

Nothing is imported here: a program pays only for the modules that it names.
"""
