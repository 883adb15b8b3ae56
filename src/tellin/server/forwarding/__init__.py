# SPDX-License-Identifier: MIT
"""What is led to a client's side and from it: ports, sockets, devices, agents and displays, and who may."""
