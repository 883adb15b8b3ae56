# SPDX-License-Identifier: MIT
"""What is led through a connection: ports, sockets, devices, agents and displays, in both directions."""
