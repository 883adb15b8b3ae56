# SPDX-License-Identifier: MIT
"""A client on a plain blocking socket: the core does the protocol, this file does the rest.

usage: python sans_io_client.py HOST PORT USER KEY-FILE FINGERPRINT COMMAND
"""

import socket
import sys
import time
from os import urandom
from pathlib import Path

from tellin.algorithms.ciphers import preferred_ciphers
from tellin.algorithms.key_exchange import CLIENT_KEY_EXCHANGES
from tellin.algorithms.macs import CLIENT_MACS
from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS
from tellin.connection.requests import ExecRequest, ExitStatus
from tellin.errors import HostKeyUnknown
from tellin.keys import PublicKey, load_private_key
from tellin.protocol import Channel, ClientProtocol, Preferences, Settings
from tellin.protocol.events import (
    Authenticated,
    AuthenticationReady,
    ChannelOpened,
    ChannelRequested,
    Event,
    HostKeyOffered,
    SignatureWanted,
)


class Output:
    """A sink: takes what a channel brings, and says how much of it is used up."""

    def __init__(self, file: int) -> None:
        self.file = file

    def take(self, views: list[memoryview]) -> int:
        for view in views:
            sys.stdout.buffer.write(view) if self.file == 1 else sys.stderr.buffer.write(view)
        return sum(map(len, views))


class Driver:
    """Moves bytes, tells the time, answers events."""

    def __init__(self, host: str, port: int) -> None:
        preferences = Preferences(
            CLIENT_KEY_EXCHANGES,
            HOST_KEY_ALGORITHMS,
            preferred_ciphers(has_aes=True),
            CLIENT_MACS,
            ("none",),
        )
        self.core = ClientProtocol(Settings(preferences, urandom), now=time.monotonic())
        self.socket = socket.create_connection((host, port))
        self.status = 255

    def run(self, user: str, key_file: str, fingerprint: str, command: str) -> int:
        self.user, self.fingerprint, self.command = user, fingerprint, command
        self.key = load_private_key(Path(key_file).read_bytes())
        while not self.core.closed:
            while events := self.core.events():  # an answer may bring another event
                for event in events:
                    self.answer(event)
            for view in self.core.to_send():
                self.core.sent(self.socket.send(view))
            count = self.socket.recv_into(self.core.writable())
            if count:
                self.core.received(count, time.monotonic())
            else:
                self.core.received_eof(time.monotonic())
        if self.core.error:
            print(self.core.error, file=sys.stderr)
        return self.status

    def answer(self, event: Event) -> None:
        match event:
            case HostKeyOffered():
                if PublicKey.from_blob(event.key_blob).fingerprint() == self.fingerprint:
                    self.core.trust_host_key()
                else:
                    self.core.reject_host_key(HostKeyUnknown("not the fingerprint I was told"))
            case AuthenticationReady():
                algorithm = self.key.public.signature_algorithms[0]
                self.core.try_publickey(self.user, self.key.public.blob, algorithm, signed=True)
            case SignatureWanted():
                self.core.give_signature(self.key.sign(event.data, event.algorithm))
            case Authenticated():
                channel = self.core.open_channel("session")
                channel.sink, channel.extended_sink = Output(1), Output(2)
            case ChannelOpened():
                self.start(event.channel)
            case ChannelRequested(request=ExitStatus() as ended):
                self.status = ended.status
                self.core.disconnect()

    def start(self, channel: Channel) -> None:
        channel.request(ExecRequest(self.command.encode()), want_reply=True)
        channel.eof()


if __name__ == "__main__":
    host, port, *rest = sys.argv[1:]
    sys.exit(Driver(host, int(port)).run(*rest))
