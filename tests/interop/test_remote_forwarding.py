# SPDX-License-Identifier: MIT
"""Remote forwarding beside OpenSSH's: the server listens, and what comes there is led to where the client is."""

from pathlib import Path

from tests.interop.conftest import Make, Running
from tests.interop.target import free_port
from tests.interop.test_forwarding import (
    MEETINGS,
    MUCH,
    dial,
    dial_path,
    late_echo,
    running_with,
    service,
    there_and_back,
    wording,
)


@MEETINGS
def test_r_leads_a_port_of_the_server_here_both_ways_and_each_direction_ends_alone(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    theirs, other = free_port(), free_port()
    with service(late_echo) as port, service() as second:
        words = ("-N", "-R", f"{theirs}:127.0.0.1:{port}")
        more = ("-o", f"RemoteForward={other} 127.0.0.1:{second}")
        argv = wording(make_client(client), running(server).target, *words, *more)
        with running_with(argv):
            with dial(theirs) as stream:
                assert there_and_back(stream, MUCH) == MUCH
            with dial(theirs) as one, dial(theirs) as two:
                assert there_and_back(two, b"two") == b"two"
                assert there_and_back(one, b"one") == b"one"
            with dial(other) as stream:
                assert there_and_back(stream, MUCH) == MUCH


@MEETINGS
def test_r_joins_sockets_of_both_file_systems_and_ports(
    client: str, server: str, running: Running, make_client: Make, home: Path
) -> None:
    theirs = free_port()
    with service(path=home / "here"), service() as port:
        words = ["-N", "-R", f"{theirs}:{home}/here", "-R", f"{home}/a:{home}/here"]
        words += ["-R", f"{home}/b:127.0.0.1:{port}"]
        with running_with(wording(make_client(client), running(server).target, *words)):
            with dial(theirs) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
            for name in "ab":
                with dial_path(home / name) as stream:
                    assert there_and_back(stream, b"hello") == b"hello"
