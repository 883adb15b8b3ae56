# SPDX-License-Identifier: MIT
"""What touches the machine: the loop, sockets, descriptors, processes, terminals, privileges.

Nothing is imported here: a program pays only for the modules that it names.
"""
