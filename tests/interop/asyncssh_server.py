# SPDX-License-Identifier: MIT
"""An AsyncSSH server in a process of its own: commands run by /bin/sh, with and without a terminal.

Takes one JSON object as its argument and prints ``listening PORT`` when it does.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import sys
import termios

import asyncssh


class Door(asyncssh.SSHServer):
    """Lets one user in, by one public key, password or answer."""

    def __init__(self, settings: dict) -> None:
        self.settings = settings
        self.key = asyncssh.import_public_key(settings["authorized"])

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self.settings["user"] and key == self.key

    def password_auth_supported(self) -> bool:
        return self.settings["password"] is not None

    def validate_password(self, username: str, password: str) -> bool:
        right = username == self.settings["user"] and password == self.settings["password"]
        if right and self.settings.get("expired"):
            raise asyncssh.PasswordChangeRequired("It has served long enough.")
        return right

    def change_password(self, username: str, old_password: str, new_password: str) -> bool:
        # Kept for the connections that come later.
        if (username, old_password) != (self.settings["user"], self.settings["password"]):
            return False
        self.settings.update(password=new_password, expired=False)
        return True

    def kbdint_auth_supported(self) -> bool:
        return self.settings["password"] is not None

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> tuple:
        return ("", "", "", [("Password: ", False)])

    def validate_kbdint_response(self, username: str, responses: list[str]) -> bool:
        return username == self.settings["user"] and responses == [self.settings["password"]]


def sizes(process: asyncssh.SSHServerProcess, terminal: int) -> None:
    columns, rows, _, _ = process.term_size
    fcntl.ioctl(
        terminal,
        termios.TIOCSWINSZ,
        rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4),
    )


async def on_terminal(process: asyncssh.SSHServerProcess, argv: list[str]) -> int:
    outer, inner = os.openpty()
    sizes(process, outer)
    environment = {**os.environ, **process.env, "TERM": process.term_type or "dumb"}
    child = await asyncio.create_subprocess_exec(
        "setsid",
        "--ctty",
        "--wait",
        *argv,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=environment,
    )
    os.close(inner)
    loop = asyncio.get_running_loop()

    def from_child() -> None:
        try:
            data = os.read(outer, 65536)
        except OSError:
            data = b""
        if data:
            process.stdout.write(data)
        else:
            loop.remove_reader(outer)

    async def to_child() -> None:
        while True:
            try:
                data = await process.stdin.read(65536)
            except asyncssh.TerminalSizeChanged:
                sizes(process, outer)
                continue
            except (asyncssh.BreakReceived, asyncssh.SignalReceived):
                continue
            if not data:
                os.write(outer, b"\x04")
                return
            os.write(outer, data)

    loop.add_reader(outer, from_child)
    feeding = asyncio.create_task(to_child())
    status = await child.wait()
    await asyncio.sleep(0.05)  # what it wrote last is still on its way through the terminal
    loop.remove_reader(outer)
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError, asyncssh.Error):
        await feeding
    os.close(outer)
    return status


async def on_pipes(process: asyncssh.SSHServerProcess, argv: list[str]) -> int:
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **process.env},
    )

    async def feed() -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while data := await process.stdin.read(65536):
                child.stdin.write(data)
                await child.stdin.drain()
        child.stdin.close()

    async def pump(source: asyncio.StreamReader, target: asyncssh.SSHWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()

    feeding = asyncio.create_task(feed())
    try:
        await asyncio.gather(
            pump(child.stdout, process.stdout), pump(child.stderr, process.stderr)
        )
    except (OSError, asyncssh.Error):
        child.kill()  # nobody is left to read what it writes
        raise
    status = await child.wait()
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding
    return status


async def handle(process: asyncssh.SSHServerProcess) -> None:
    """Run what is asked for and pass its end on."""
    if process.subsystem == "echo":
        argv = ["cat"]
    elif process.command is None:
        argv = ["/bin/sh"]
    else:
        argv = ["/bin/sh", "-c", process.command]
    # A client without TERM asks for a terminal of no type.
    run = on_pipes if process.term_type is None else on_terminal
    with contextlib.suppress(BrokenPipeError, ConnectionError, asyncssh.Error):
        status = await run(process, argv)
        if status < 0:
            process.exit_with_signal(
                {1: "HUP", 2: "INT", 9: "KILL", 10: "USR1", 15: "TERM"}[-status]
            )
        else:
            process.exit(status)


async def main() -> None:
    settings = json.loads(sys.argv[1])
    # Errors and the reasons of refusals go to the log that a failed test shows.
    logging.basicConfig(level=logging.INFO)
    options = settings.get("options", {})
    settings["expired"] = options.pop("expired", False)
    server = await asyncssh.listen(
        "127.0.0.1",
        settings["port"],
        server_factory=lambda: Door(settings),
        server_host_keys=settings["host_keys"],
        process_factory=handle,
        sftp_factory=True,
        encoding=None,
        line_editor=False,
        **options,
    )
    print("listening", server.get_port(), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
