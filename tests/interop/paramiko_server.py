# SPDX-License-Identifier: MIT
"""A Paramiko server in a process of its own: commands run by /bin/sh, with and without a terminal.

Takes one JSON object as its argument and prints ``listening PORT`` when it does.
"""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

# What a channel says when the other side has gone: EOFError where the connection broke while a
# packet was being written, the others before and after.
GONE = (OSError, EOFError, paramiko.SSHException)


class Door(paramiko.ServerInterface):
    """Lets one user in, by one public key, password or answer, and runs what is asked for."""

    def __init__(self, settings: dict) -> None:
        self.settings = settings
        self.terminal: tuple[int, int] | None = None

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password,keyboard-interactive"

    def _decide(self, username: str, right: bool) -> int:
        return AUTH_SUCCESSFUL if right and username == self.settings["user"] else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._decide(username, key.get_base64() == self.settings["authorized"].split()[1])

    def check_auth_password(self, username: str, password: str) -> int:
        return self._decide(username, password == self.settings["password"])

    def check_auth_interactive(self, username: str, submethods: str) -> paramiko.InteractiveQuery:
        self.user = username
        query = paramiko.InteractiveQuery("", "")
        query.add_prompt("Password: ", echo=False)
        return query

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        return self._decide(self.user, responses == [self.settings["password"]])

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_pty_request(self, channel, term, width, height, *pixels_and_modes) -> bool:
        self.terminal = os.openpty()
        self.check_channel_window_change_request(channel, width, height)
        return True

    def check_channel_window_change_request(self, channel, width, height, *pixels) -> bool:
        size = height.to_bytes(2, "little") + width.to_bytes(2, "little") + bytes(4)
        fcntl.ioctl(self.terminal[0], termios.TIOCSWINSZ, size)
        return True

    def check_channel_env_request(self, channel, name, value) -> bool:
        return False

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return self._start(channel, ["/bin/sh", "-c", command])

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._start(channel, ["/bin/sh"])

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if name == "sftp":
            return super().check_channel_subsystem_request(channel, name)
        return name == "echo" and self._start(channel, ["cat"])

    def _start(self, channel: paramiko.Channel, argv: list) -> bool:
        run = on_terminal if self.terminal else on_pipes
        threading.Thread(target=run, args=(channel, argv, self.terminal), daemon=True).start()
        return True


def told(function: Any, *args: Any, **named: Any) -> Any:
    """What came of it, or its error as one of the protocol's codes."""
    try:
        found = function(*args, **named)
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno)
    return paramiko.SFTP_OK if found is None else found


class OpenFile(paramiko.SFTPHandle):
    """A file that a client has open."""

    def stat(self) -> Any:
        return told(lambda: paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno())))

    def chattr(self, attr: Any) -> Any:
        return told(paramiko.SFTPServer.set_file_attr, self.filename, attr)


class LocalFiles(paramiko.SFTPServerInterface):
    """This machine's files: Paramiko's users bring their own."""

    def list_folder(self, path: str) -> Any:
        def listed() -> list[Any]:
            return [
                paramiko.SFTPAttributes.from_stat(os.lstat(f"{path}/{name}"), name)
                for name in os.listdir(path)  # noqa: PTH208
            ]

        return told(listed)

    def stat(self, path: str) -> Any:
        return told(lambda: paramiko.SFTPAttributes.from_stat(os.stat(path)))  # noqa: PTH116

    def lstat(self, path: str) -> Any:
        return told(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(path)))

    def open(self, path: str, flags: int, attr: Any) -> Any:
        def opened() -> Any:
            mode = attr.st_mode if attr.st_mode is not None else 0o666
            descriptor = os.open(path, flags, mode)
            kind = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
            file = OpenFile(flags)
            file.filename = path
            stream = os.fdopen(descriptor, kind)
            file.readfile = file.writefile = stream
            return file

        return told(opened)

    def remove(self, path: str) -> Any:
        return told(os.remove, path)

    def rename(self, oldpath: str, newpath: str) -> Any:
        return told(os.rename, oldpath, newpath)

    def posix_rename(self, oldpath: str, newpath: str) -> Any:
        return told(os.replace, oldpath, newpath)

    def mkdir(self, path: str, attr: Any) -> Any:
        return told(os.mkdir, path, attr.st_mode if attr.st_mode is not None else 0o777)

    def rmdir(self, path: str) -> Any:
        return told(os.rmdir, path)

    def chattr(self, path: str, attr: Any) -> Any:
        return told(paramiko.SFTPServer.set_file_attr, path, attr)

    def symlink(self, target_path: str, path: str) -> Any:
        return told(os.symlink, target_path, path)

    def readlink(self, path: str) -> Any:
        return told(os.readlink, path)

    def canonicalize(self, path: str) -> str:
        return os.path.realpath(path)


def pump(blocks: Iterable[bytes], send: Callable, child: subprocess.Popen) -> None:
    try:
        for data in blocks:
            send(data)
    except GONE:
        child.kill()  # nobody is left to read what it writes


def on_pipes(channel: paramiko.Channel, argv: list, _: None) -> None:
    pipe = subprocess.PIPE
    child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)

    def feed() -> None:
        with contextlib.suppress(OSError):
            while data := channel.recv(32768):
                child.stdin.write(data)
        with contextlib.suppress(OSError):
            child.stdin.close()

    def blocks(source) -> Iterator[bytes]:
        return iter(lambda: source.read(32768), b"")

    threading.Thread(target=feed, daemon=True).start()
    pumps = [
        threading.Thread(target=pump, args=(blocks(source), send, child))
        for source, send in (
            (child.stdout, channel.sendall),
            (child.stderr, channel.sendall_stderr),
        )
    ]
    for thread in pumps:
        thread.start()
    for thread in pumps:
        thread.join()
    finish(channel, child.wait())


def on_terminal(channel: paramiko.Channel, argv: list, terminal: tuple[int, int]) -> None:
    outer, inner = terminal
    child = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *argv], stdin=inner, stdout=inner, stderr=inner
    )
    os.close(inner)

    def feed() -> None:
        with contextlib.suppress(OSError):
            while data := channel.recv(32768):
                os.write(outer, data)

    def blocks() -> Iterator[bytes]:
        with contextlib.suppress(OSError):  # EIO ends it
            while data := os.read(outer, 65536):
                yield data

    threading.Thread(target=feed, daemon=True).start()
    pump(blocks(), channel.sendall, child)
    finish(channel, child.wait())


def finish(channel: paramiko.Channel, status: int) -> None:
    with contextlib.suppress(*GONE):
        channel.send_exit_status(status if status >= 0 else 128 - status)
        channel.close()


def serve(connection: socket.socket, settings: dict) -> None:
    with contextlib.suppress(*GONE):
        transport = paramiko.Transport(connection)
        for patience in ("banner_timeout", "handshake_timeout", "auth_timeout"):
            setattr(transport, patience, 60)
        if "kex" in settings["options"]:
            transport.get_security_options().kex = settings["options"]["kex"]
        for path in settings["host_keys"]:
            transport.add_server_key(paramiko.PKey.from_path(path))
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, LocalFiles)
        transport.start_server(server=Door(settings), event=threading.Event())


def main() -> None:
    settings = json.loads(sys.argv[1])
    if groups := settings["options"].get("moduli"):
        paramiko.Transport.load_server_moduli(groups)
    with socket.create_server(("127.0.0.1", settings["port"])) as listener:
        print("listening", listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, settings), daemon=True).start()


main()
