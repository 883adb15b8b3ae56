# SPDX-License-Identifier: MIT
"""A server's other host keys, learnt after a login: both sides, with OpenSSH at either end."""

import asyncio
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.interop.peers import OpenSSHServer, Server, no_terminals_of_sshd
from tests.interop.tellin_peer import TellinServer
from tests.programs.ssh_runs import Ssh, Typist

import tellin

PATIENCE = 60.0
KINDS = ("ed25519", "ecdsa256", "rsa")
LEARN = ["-o", "UpdateHostKeys=yes"]


@pytest.fixture(
    params=["tellin", pytest.param("sshd", marks=pytest.mark.peer("sshd"))], scope="module"
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    kind = TellinServer if request.param == "tellin" else OpenSSHServer
    place = tmp_path_factory.mktemp("server")
    options = {"HostKeyAlgorithms": "+ecdsa-sha2-nistp256"}
    with kind(place, account=account, host_keys=KINDS, options=options) as running:
        yield running


@pytest.fixture(params=["tellin", pytest.param("ssh", marks=pytest.mark.peer("openssh"))])
def client(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Ssh:
    made = Ssh(tmp_path, server.target)
    if request.param == "ssh":
        made.program = ("ssh",)
    return made


def lines(server: Server) -> list[str]:
    return server.target.known_hosts().splitlines(keepends=True)


def learn(client: Ssh, text: str, *flags: str, wanted: str) -> str:
    """Log in with this known_hosts, and have what it is afterwards."""
    client.known_hosts.write_text(text, "ascii")
    # The proof comes behind the command's start: one that ends at once may be over before it.
    done = client.run("sleep 2; echo in", flags=[*LEARN, *flags])
    assert (done.status, done.stdout) == (0, b"in\n"), done.stderr
    found = client.known_hosts.read_text("ascii")
    assert sorted(found.splitlines()) == sorted(wanted.splitlines()), done.stderr
    return done.stderr.decode()


def test_keys_that_are_not_on_record_are_learnt(client: Ssh, server: Server) -> None:
    first, *others = lines(server)
    for known in (first, others[0], others[1]):
        learn(client, f"# mine\n{known}", wanted="# mine\n" + "".join(lines(server)))


def test_a_program_learns_them_too(server: Server, tmp_path: Path) -> None:
    asyncio.run(_learns(server, tmp_path))


async def _learns(server: Server, place: Path) -> None:
    known, config, target = place / "known_hosts", place / "config", server.target
    config.write_text("UpdateHostKeys yes\n", "ascii")
    first, *_ = lines(server)
    known.write_text(f"# mine\n{first}{first.split()[0]} {other_key(place)}\n", "ascii")
    assert target.identity is not None
    async with (
        asyncio.timeout(PATIENCE),
        tellin.connect(
            target.host,
            port=target.port,
            user=target.user,
            keys=[target.identity.path],
            known_hosts=known,
            config=config,
        ) as connection,
    ):
        wanted = {"# mine\n", *lines(server)}
        # Nothing but the file tells of it.
        while {*known.read_text("ascii").splitlines(keepends=True)} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert (await connection.run("echo in")).stdout == "in\n"


def test_keys_that_the_server_no_longer_has_are_forgotten(
    client: Ssh, server: Server, tmp_path: Path
) -> None:
    name = lines(server)[0].split()[0]
    gone = f"{name} {other_key(tmp_path)}\n"
    said = learn(client, lines(server)[0] + gone, "-v", wanted="".join(lines(server)))
    assert "Learned new hostkey: RSA SHA256:" in said
    assert "Deprecating obsolete hostkey: ED25519 SHA256:" in said


def test_names_are_hashed_where_that_is_wanted(client: Ssh, server: Server) -> None:
    client.known_hosts.write_text(lines(server)[0], "ascii")
    client.run("sleep 2", flags=[*LEARN, "-o", "HashKnownHosts=yes"])
    found = client.known_hosts.read_text("ascii").splitlines()
    assert [line.startswith("|1|") for line in found] == [False, True, True]
    strict = client.run("true", flags=["-o", "HostKeyAlgorithms=rsa-sha2-256"])
    assert strict.status == 0


def other_key(directory: Path) -> str:
    path = directory / "other"
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return " ".join(Path(f"{path}.pub").read_text("ascii").split()[:2])


def left_alone(server: Server, key: str) -> list[tuple[str, str]]:
    """Records that are more than the plain ones of one host."""
    host = lines(server)[0]
    name, rest = host.split(" ", 1)
    return [
        ("a marker", f"{host}@revoked {name} {key}\n"),
        ("an authority", f"{host}@cert-authority {name} {key}\n"),
        ("a pattern", f"{host}[127.0.0.?]:* {key}\n"),
        ("several names", f"{name},one,two {rest}"),
        ("the key under another name", f"{host}elsewhere {rest}"),
        ("an old key under another name", f"{host}{name} {key}\nelsewhere {key}\n"),
    ]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", range(6))
def test_what_is_more_than_the_plain_record_of_one_host_is_left_alone(
    client: Ssh, server: Server, tmp_path: Path, case: int
) -> None:
    what, text = left_alone(server, other_key(tmp_path))[case]
    said = learn(client, text, "-v", wanted=text)
    assert "Learned" not in said, what


def test_without_a_word_of_it_the_user_s_own_files_are_left_alone(
    client: Ssh, server: Server
) -> None:
    text = lines(server)[0]
    client.known_hosts.write_text(text, "ascii")
    assert client.run("sleep 1").status == 0
    assert client.known_hosts.read_text("ascii") == text


def test_a_key_of_everybody_s_file_and_a_new_host_teach_nothing(
    client: Ssh, server: Server, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.write_text(lines(server)[0], "ascii")
    learn(client, "", "-o", f"GlobalKnownHostsFile={shared}", wanted="")
    only = ["-o", "HostKeyAlgorithms=ssh-ed25519,rsa-sha2-512,ecdsa-sha2-nistp256"]
    learn(client, "", "-o", "StrictHostKeyChecking=accept-new", *only, wanted=lines(server)[0])


def test_only_the_kinds_that_are_allowed_are_learnt(client: Ssh, server: Server) -> None:
    ed25519, ecdsa, _ = lines(server)
    only = ["-o", "HostKeyAlgorithms=ssh-ed25519,ecdsa-sha2-nistp256"]
    learn(client, ed25519, *only, wanted=ed25519 + ecdsa)


@pytest.mark.parametrize(("said", "learnt"), [("yes", True), ("no", False), ("what?\nyes", True)])
def test_ask_asks(client: Ssh, server: Server, said: str, learnt: bool) -> None:
    client.known_hosts.write_text(lines(server)[0], "ascii")
    if isinstance(server, OpenSSHServer) and (reason := no_terminals_of_sshd()):
        pytest.skip(reason)
    flags = ["-o", "UpdateHostKeys=ask"]
    argv = client.argv(flags=flags)
    with Typist(find(argv), env=client.environment) as typist:
        typist.expect("The server has updated its host keys")
        typist.expect("verified by the server's existing trusted key")
        for answer in said.split("\n"):
            typist.expect(r"Accept updated hostkeys\? \(yes/no\): ")
            typist.type(f"{answer}\n")
        typist.type("exit 7\n")
        assert typist.end() == 7
    assert not client.run("true", flags=flags).stderr, "a command's streams are not for questions"
    assert len(client.known_hosts.read_text("ascii").splitlines()) == (3 if learnt else 1)


def test_nobody_is_asked_in_batch_mode(client: Ssh, server: Server) -> None:
    text = lines(server)[0]
    client.known_hosts.write_text(text, "ascii")
    assert (
        client.run("sleep 1", flags=["-o", "UpdateHostKeys=ask", "-o", "BatchMode=yes"]).status
        == 0
    )
    assert client.known_hosts.read_text("ascii") == text


def find(argv: Sequence[str]) -> list[str]:
    if "/" in argv[0]:
        return [*argv]
    return [subprocess.check_output(["which", argv[0]], text=True).strip(), *argv[1:]]
