# SPDX-License-Identifier: MIT
"""Configuration and record files: text in, values out.

Nothing here opens a file, runs a command or reads a clock: what a file needs of the machine is
handed in as one `Surroundings` object. Nothing is imported here either: a program pays only for
the modules that it names.
"""
