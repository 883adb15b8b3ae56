# SPDX-License-Identifier: MIT
"""What stands at the two ends of a tunnel: a server of plain TCP, and those who connect to it.

A connection says in nine bytes what it wants: a letter and a number. ``D`` has that many zeros sent,
``U`` takes that many bytes and answers with one, ``E`` gives back what comes. All of it is done by
processes that wait in the kernel, so that the tunnel between is what is measured.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

from bench import agent

HOST = "127.0.0.1"
_WISH = struct.Struct(">cQ")
_BLOCK = 256 << 10
_ZEROS = bytes(_BLOCK)
_SAID = b"a few words that come back"


def _whole(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            raise ConnectionError(f"{len(data)} bytes of {size}, and then the end")
        data += piece
    return data


# ---- the server ---------------------------------------------------------------------------------


def serve(processes: int, threads: int) -> None:
    """Announce a port and answer there, until standard input ends."""
    listener = socket.create_server((HOST, 0), backlog=1024)
    children = []
    for _ in range(processes):
        child = os.fork()
        if not child:
            for _ in range(threads - 1):
                threading.Thread(target=_answer_all, args=(listener,), daemon=True).start()
            _answer_all(listener)
        children.append(child)
    agent.announce(listener.getsockname()[1])
    while os.read(0, 1):
        pass
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


def _answer_all(listener: socket.socket) -> None:
    while True:
        stream, _ = listener.accept()
        with stream, contextlib.suppress(OSError):
            _answer(stream)


def _answer(stream: socket.socket) -> None:
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    letter, size = _WISH.unpack(_whole(stream, _WISH.size))
    if letter == b"D":
        while size:
            size -= stream.send(_ZEROS if size >= _BLOCK else _ZEROS[:size])
    elif letter == b"U":
        _swallow(stream, size)
        stream.sendall(b".")
    else:
        while data := stream.recv(_BLOCK):
            stream.sendall(data)


def _swallow(stream: socket.socket, size: int) -> None:
    buffer = bytearray(_BLOCK)
    while size:
        count = stream.recv_into(buffer)
        if not count:
            raise ConnectionError(f"{size} bytes are missing")
        size -= count


# ---- who connects -------------------------------------------------------------------------------


def connect(port: int, behind: int | None) -> socket.socket:
    """A connection to a port; with ``behind`` by SOCKS 5 to that one."""
    stream = socket.create_connection((HOST, port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if behind is not None:
        stream.sendall(b"\5\1\0")
        if _whole(stream, 2) != b"\5\0":
            raise ConnectionError("the proxy wants more than nothing")
        stream.sendall(b"\5\1\0\1" + socket.inet_aton(HOST) + struct.pack(">H", behind))
        if _whole(stream, 10)[:2] != b"\5\0":
            raise ConnectionError("the proxy cannot connect")
    return stream


def move(direction: str, size: int, port: int, behind: int | None) -> float:
    """Move zeros one way; the seconds from the first byte said to the last one there."""
    with connect(port, behind) as stream:
        started = time.perf_counter()
        if direction == "down":
            stream.sendall(_WISH.pack(b"D", size))
            _swallow(stream, size)
        else:
            stream.sendall(_WISH.pack(b"U", size))
            left = size
            while left:
                left -= stream.send(_ZEROS if left >= _BLOCK else _ZEROS[:left])
            _whole(stream, 1)
        return time.perf_counter() - started


def churn(count: int, port: int, behind: int | None, *, beside: int) -> float:
    """Open, use and close ``count`` connections, ``beside`` at a time; the seconds it took."""
    gate, gun = os.pipe()
    children = []
    for _ in range(beside):
        child = os.fork()
        if not child:
            os._exit(_churn_alone(gate, gun, count // beside, port, behind))
        children.append(child)
    os.close(gate)
    started = time.perf_counter()
    os.close(gun)
    worst = max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    if worst:
        raise ConnectionError("not all connections came through")
    return time.perf_counter() - started


def _churn_alone(gate: int, gun: int, count: int, port: int, behind: int | None) -> int:
    os.close(gun)
    os.read(gate, 1)  # ends when all are there
    try:
        for _ in range(count):
            with connect(port, behind) as stream:
                stream.sendall(_WISH.pack(b"E", 0) + _SAID)
                if _whole(stream, len(_SAID)) != _SAID:
                    return 1
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


@contextlib.contextmanager
def stalled(port: int) -> Iterator[None]:
    """A connection that has asked for a great deal and reads nothing of it."""
    with connect(port, None) as stream:
        stream.sendall(_WISH.pack(b"D", 1 << 40))
        time.sleep(0.3)
        yield


def flows(count: int, each: int, port: int) -> float:
    """Download ``each`` bytes by ``count`` connections at once; the seconds until the last is there."""
    watch = selectors.DefaultSelector()
    left: dict[int, int] = {}
    streams = [connect(port, None) for _ in range(count)]
    buffer = bytearray(_BLOCK)
    started = time.perf_counter()
    for stream in streams:
        stream.sendall(_WISH.pack(b"D", each))
        stream.setblocking(False)
        left[stream.fileno()] = each
        watch.register(stream, selectors.EVENT_READ)
    while left:
        for key, _ in watch.select():
            stream = key.fileobj
            assert isinstance(stream, socket.socket)
            got = stream.recv_into(buffer)
            if not got:
                raise ConnectionError("a flow ended early")
            left[key.fd] -= got
            if not left[key.fd]:
                del left[key.fd]
                watch.unregister(stream)
    seconds = time.perf_counter() - started
    for stream in streams:
        stream.close()
    return seconds


_ROLES: dict[str, Callable[[int, int], None]] = {"serve": serve}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](*map(int, sys.argv[2:]))
