# SPDX-License-Identifier: MIT
"""A whole conversation in memory: no socket, no thread, no waiting."""

from tellin.keys import PrivateKey
from tellin.protocol import ClientProtocol, ServerProtocol
from tellin.testing import Collector, Loopback, client_settings, server_settings

host_key = PrivateKey.generate("ed25519")
wire = Loopback(
    ClientProtocol(client_settings(), now=0.0),
    ServerProtocol(server_settings(host_key), now=0.0),
    host_key=host_key,
)
wire.log_in()
ours, theirs = wire.session()
theirs.sink = Collector(theirs)
ours.send(b"hello")
wire.pump()
assert theirs.sink.data == b"hello"
print(wire.client.algorithms)
