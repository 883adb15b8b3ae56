# SPDX-License-Identifier: MIT
"""The article's rows 5 and 17 to 19: many channels in one connection, and HTTP through what is forwarded."""

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.interop.conftest import Make, Running
from tests.interop.peers import no_terminals_of_sshd
from tests.interop.target import free_port
from tests.interop.test_forwarding import (
    EITHER_SERVER,
    MEETINGS,
    OPENSSH_AND_WE,
    dial,
    late_echo,
    running_with,
    service,
    there_and_back,
    through,
    wording,
)
from tests.library import awaited, pattern

PAGE = pattern(300_000)

# OpenSSH's two with each other as well: what the lines are worth.
YARDSTICK = pytest.param("ssh", "sshd", id="ssh-to-sshd", marks=pytest.mark.peer("ssh", "sshd"))
WITH_YARDSTICK = pytest.mark.parametrize(("client", "server"), [*OPENSSH_AND_WE, YARDSTICK])

NEEDS_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")


class Pages(BaseHTTPRequestHandler):
    """The same page, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def pages() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def fetch(*words: str) -> bytes:
    """What curl gets."""
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "", *words], capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""
    return done.stdout


@NEEDS_CURL
@WITH_YARDSTICK
def test_rows_17_18_19_http_goes_through_l_r_and_d(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    here, there, proxy = free_port(), free_port(), free_port()
    with pages() as port:
        words = ["-N", "-L", f"{here}:localhost:{port}", "-R", f"{there}:localhost:{port}"]
        words += ["-D", str(proxy)]
        with running_with(wording(make_client(client), running(server).target, *words)):
            for one in (here, there, proxy):
                dial(one).close()
            assert fetch(f"http://localhost:{here}/") == PAGE
            assert fetch(f"http://localhost:{there}/") == PAGE
            for kind in ("socks4a", "socks5-hostname"):
                page = f"http://localhost:{port}/"
                assert fetch(f"--{kind}", f"127.0.0.1:{proxy}", page) == PAGE


@MEETINGS
def test_row_17_nine_forwards_in_a_chain_lose_nothing(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    """Five there and four back, each leading to the one before: all the data goes through nine times."""
    ports = [free_port() for _ in range(9)]
    data = pattern(1 << 20)
    with service(late_echo) as port:
        words, leads = ["-N"], [port, *ports]
        for at, ours in enumerate(ports):
            words += ["-R" if at % 2 else "-L", f"{ours}:127.0.0.1:{leads[at]}"]
        with running_with(wording(make_client(client), running(server).target, *words)):
            for one in ports:
                dial(one).close()
            with dial(ports[-1]) as stream:
                assert there_and_back(stream, data) == data


@EITHER_SERVER
@awaited
async def test_row_5_a_shell_files_and_forwards_share_one_connection(
    name: str, running: Running, tmp_path: Path, home: Path
) -> None:
    if name == "sshd" and (reason := no_terminals_of_sshd()):
        pytest.skip(reason)
    data = pattern(2 << 20)

    async def echoed(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        back = await reader.read()
        await sending
        writer.close()
        return back

    with service(late_echo) as port, service(path=home / "s"):
        async with (
            through(running(name)) as connection,
            connection.shell(term="xterm") as shell,
            connection.sftp() as files,
            connection.forward_local(0, "127.0.0.1", port) as here,
            connection.forward_remote(0, home / "s") as there,
        ):

            async def copy() -> bytes:
                (tmp_path / "ours").write_bytes(data)
                await files.put(tmp_path / "ours", str(tmp_path / "theirs"))
                await files.get(str(tmp_path / "theirs"), tmp_path / "back")
                return (tmp_path / "back").read_bytes()

            async def ask() -> str:
                await shell.stdin.write("echo $((6 * 7)) alive; exit 3\n")
                return (await shell.communicate()).stdout

            done = await asyncio.gather(
                connection.run("cat", input=data, encoding=None),
                copy(),
                ask(),
                *(echoed(one.port) for one in (here, there) for _ in range(3)),
            )
        assert done[0].stdout == data
        assert done[1] == data
        assert "42 alive" in done[2]
        assert set(done[3:]) == {data}
