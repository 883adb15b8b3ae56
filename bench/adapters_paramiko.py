# SPDX-License-Identifier: MIT
"""Paramiko as server, as command-line client and as library (threads, its default windows)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko  # type: ignore[import-untyped]

from bench import agent

_CHANNEL_SUCCESS = 99
_READ = 128 * 1024


def _keep_keys(transport: paramiko.Transport) -> None:
    # Paramiko renews its keys every 512 MiB, and while data pours in it may not see the answer in
    # time and gives up. Nobody else renews so early: OpenSSH and AsyncSSH not within a GiB.
    transport.packetizer.REKEY_BYTES = 1 << 40


def _limit(transport: paramiko.Transport, orders: agent.Orders) -> paramiko.Transport:
    """Offer only the algorithms that were ordered."""
    _keep_keys(transport)
    options = transport.get_security_options()
    if orders.cipher:
        options.ciphers = (orders.cipher,)
    if orders.mac:
        options.digests = (orders.mac,)
    if orders.kex:
        options.kex = tuple(name for name in orders.kex.split(",") if name in options.kex)
    return transport


@contextlib.contextmanager
def _connected(orders: agent.Orders) -> Iterator[paramiko.Transport]:
    client = paramiko.SSHClient()
    name = f"[{orders.host}]:{orders.port}"
    key = paramiko.Ed25519Key(data=_host_blob(orders))
    client.get_host_keys().add(name, "ssh-ed25519", key)

    def transport_factory(sock: Any, **options: Any) -> paramiko.Transport:
        # Paramiko leaves Nagle's algorithm on: 40 ms a packet with delayed acknowledgements.
        # Whoever cares for speed sets this, so it is measured with it, at both ends.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _limit(paramiko.Transport(sock, **options), orders)

    client.connect(
        orders.host,
        orders.port,
        username=orders.user,
        key_filename=orders.identity,
        allow_agent=False,
        look_for_keys=False,
        transport_factory=transport_factory,
    )
    try:
        transport = client.get_transport()
        assert transport is not None
        yield transport
    finally:
        client.close()


def _host_blob(orders: agent.Orders) -> bytes:
    return b64decode(orders.host_public.split()[1])


def _run(transport: paramiko.Transport, command: str) -> bytes:
    channel = transport.open_session()
    channel.exec_command(command)
    output = b"".join(iter(lambda: channel.recv(_READ), b""))
    assert channel.recv_exit_status() == 0
    channel.close()
    return output


# ---- server ------------------------------------------------------------------------------------


class _Policy(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets the one key in and starts a thread for each command."""

    def __init__(self, orders: agent.Orders, allowed: paramiko.PKey) -> None:
        self._orders, self._allowed = orders, allowed
        self.pending: dict[int, threading.Thread] = {}

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        matches = key.asbytes() == self._allowed.asbytes()
        return int(paramiko.AUTH_SUCCESSFUL if matches else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        run = _handle if self._orders.mode == "handler" else _spawn
        thread = threading.Thread(target=run, args=(channel, command.decode()), daemon=True)
        self.pending[channel.remote_chanid] = thread
        return True


class _ServerTransport(paramiko.Transport):  # type: ignore[misc]
    """Starts a command's thread once the reply to its request has gone out, never before."""

    policy: _Policy

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)
        packet = data.asbytes()
        if packet[0] == _CHANNEL_SUCCESS:
            self.policy.pending.pop(int.from_bytes(packet[1:5], "big")).start()


def _spawn(channel: paramiko.Channel, command: str) -> None:
    """Run the command as sshd would: /bin/sh -c, a pipe for each stream."""
    child = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=agent.spawn_environment(),
        bufsize=0,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    stdin, stdout = child.stdin, child.stdout.fileno()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError):
            while data := channel.recv(_READ):
                stdin.write(data)
        stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := os.read(stdout, _READ):
            channel.sendall(data)
    channel.send_exit_status(child.wait())
    channel.close()
    child.stdout.close()


def _handle(channel: paramiko.Channel, command: str) -> None:
    """Answer in this process: no-op, echo, source, sink, hold."""
    word, _, number = command.partition(" ")
    if word == "source":
        block, left = agent.pattern(), int(number)
        while left:
            step = min(left, agent.BLOCK)
            channel.sendall(block[:step])
            left -= step
    elif word in {"echo", "sink", "digest", "hold"}:
        count, digest = 0, hashlib.sha256()
        while data := channel.recv(_READ):
            count += len(data)
            if word == "echo":
                channel.sendall(data)
            elif word == "digest":
                digest.update(data)
        if word in {"sink", "digest"}:
            channel.sendall(b"%d\n" % count if word == "sink" else digest.hexdigest().encode())
    channel.send_exit_status(0)
    channel.close()


def _serve(orders: agent.Orders) -> int:
    host_key = paramiko.Ed25519Key.from_private_key_file(orders.host_key)
    allowed = paramiko.Ed25519Key.from_private_key_file(orders.identity)
    listener = socket.create_server((orders.host, 0), backlog=1000)
    agent.announce(listener.getsockname()[1])
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = _ServerTransport(connection)
        _keep_keys(transport)
        transport.add_server_key(host_key)
        transport.policy = _Policy(orders, allowed)
        # An event, so that the negotiation does not hold up the next connection.
        transport.start_server(event=threading.Event(), server=transport.policy)


# ---- command-line client -----------------------------------------------------------------------


def _execute(orders: agent.Orders) -> int:
    """One command, this process's standard streams joined to it."""
    inputless = stat.S_ISCHR(os.fstat(0).st_mode)
    with _connected(orders) as transport:
        channel = transport.open_session()
        channel.exec_command(orders.command)

        def feed() -> None:
            while data := os.read(0, _READ):
                channel.sendall(data)
            channel.shutdown_write()

        if inputless:
            channel.shutdown_write()
        else:
            threading.Thread(target=feed, daemon=True).start()
        while data := channel.recv(_READ):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
        return int(channel.recv_exit_status())


# ---- library -----------------------------------------------------------------------------------


class Operations:
    """What the harness may ask of a library client."""

    def __init__(self, orders: agent.Orders) -> None:
        """Keep the target; every operation opens its own connection."""
        self._orders = orders
        self._block = agent.pattern()

    def login(self, count: int, command: str) -> list[float]:
        """Seconds of each connect + login + exec + close."""
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            with _connected(self._orders) as transport:
                _run(transport, command)
            taken.append(time.perf_counter() - started)
        return taken

    def commands(self, count: int, command: str) -> float:
        """Seconds for `count` commands one after the other on one connection."""
        with _connected(self._orders) as transport:
            _run(transport, command)
            started = time.perf_counter()
            for _ in range(count):
                _run(transport, command)
            return time.perf_counter() - started

    def echo(self, count: int, command: str) -> list[float]:
        """Seconds of each byte there and back."""
        taken = []
        with _connected(self._orders) as transport:
            channel = transport.open_session()
            channel.exec_command(command)
            for _ in range(count):
                started = time.perf_counter()
                channel.sendall(b"x")
                assert channel.recv(16) == b"x"
                taken.append(time.perf_counter() - started)
                time.sleep(0.001)
        return taken

    def files(self, verb: str, source: str, target: str) -> dict[str, float]:
        """Fetch or send a file or a flat directory; neither the login nor the talk's beginning counts."""
        with _connected(self._orders) as transport:
            talk = paramiko.SFTPClient.from_transport(transport)
            used, started = time.process_time(), time.perf_counter()
            move = getattr(talk, verb)
            if Path(source).is_dir():
                Path(target).mkdir()
                names = talk.listdir(source) if verb == "get" else os.listdir(source)
                for name in names:
                    move(f"{source}/{name}", f"{target}/{name}")
            else:
                move(source, target)
            return {
                "seconds": time.perf_counter() - started,
                "cpu": time.process_time() - used,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            }

    def bulk(self, direction: str, size: int, check: bool) -> dict[str, float | int | str]:
        """Move `size` bytes between memories; the login is not in the seconds."""
        with _connected(self._orders) as transport:
            channel = transport.open_session()
            used, started = time.process_time(), time.perf_counter()
            count, digest = 0, ""
            if direction == "download":
                channel.exec_command(f"source {size}")
                hashed = hashlib.sha256()
                while data := channel.recv(_READ):
                    count += len(data)
                    if check:
                        hashed.update(data)
                digest = hashed.hexdigest() if check else ""
            else:
                channel.exec_command("digest" if check else "sink")
                left = size
                while left:
                    step = min(left, agent.BLOCK)
                    channel.sendall(self._block[:step])
                    left -= step
                channel.shutdown_write()
                answer = b"".join(iter(lambda: channel.recv(_READ), b"")).decode().strip()
                count, digest = (size, answer) if check else (int(answer), "")
            return {
                "seconds": time.perf_counter() - started,
                "cpu": time.process_time() - used,
                "bytes": count,
                "digest": digest,
            }


def main(role: str, text: str) -> int:
    """Run one role until it is done."""
    orders = agent.Orders(text)
    if role == "exec":
        return _execute(orders)
    if role == "server":
        return _serve(orders)
    operations = Operations(orders)
    names = ("login", "commands", "echo", "bulk", "files")
    agent.answer_requests({name: getattr(operations, name) for name in names})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
