# SPDX-License-Identifier: MIT
"""What people run: one module a program, found by name.

Nothing is imported here: a program pays only for the modules that it names.
"""
