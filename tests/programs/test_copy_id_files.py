# SPDX-License-Identifier: MIT

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers import SFTP_SERVER

from tellin.errors import ConnectionLost, ProtocolError, RemoteFileForbidden, SftpError
from tellin.programs import copy_id_files
from tellin.programs.copy_id_files import FileServer, install

OURS = [sys.executable, "-P", "-m", "tellin", "sftp-server"]
OLD = b"ssh-ed25519 AAAAold old"
ONE = b"ssh-ed25519 AAAAone one"
TWO = b"ssh-rsa AAAAtwo two words"

THEIRS = [str(SFTP_SERVER)]
SERVERS = [
    pytest.param(OURS, id="tellin"),
    pytest.param([*OURS, "-P", "posix-rename,fsync"], id="tellin without posix-rename"),
    pytest.param(THEIRS, id="openssh", marks=pytest.mark.peer("sftp-server")),
    pytest.param(
        [*THEIRS, "-P", "posix-rename"],
        id="openssh without posix-rename",
        marks=pytest.mark.peer("sftp-server"),
    ),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, home: Path) -> Iterator[FileServer]:
    with FileServer([*request.param, "-d", str(home)], os.environ) as made:
        yield made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_and_its_directory_are_made_for_their_owner_alone(
    server: FileServer, home: Path
) -> None:
    assert install(server, ".ssh/authorized_keys", [ONE, TWO]) == 2
    path = home / ".ssh" / "authorized_keys"
    assert path.read_bytes() == ONE + b"\n" + TWO + b"\n"
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    # What is there is not added again.
    assert install(server, ".ssh/authorized_keys", [TWO, ONE]) == 0
    assert path.read_bytes() == ONE + b"\n" + TWO + b"\n"


def test_a_last_line_without_its_end_gets_one_and_wide_modes_are_narrowed(
    server: FileServer, home: Path
) -> None:
    path = home / ".ssh" / "authorized_keys"
    path.parent.mkdir(mode=0o775)
    path.parent.chmod(0o775)
    path.write_bytes(b"# keys\n" + OLD)
    path.chmod(0o664)
    assert install(server, ".ssh/authorized_keys", [OLD, ONE]) == 1
    assert path.read_bytes() == b"# keys\n" + OLD + b"\n" + ONE + b"\n"
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    path.write_bytes(OLD)
    assert install(server, ".ssh/authorized_keys", [OLD]) == 0
    assert path.read_bytes() == OLD


def test_another_target_keeps_its_directorys_mode_but_for_others_writing(
    server: FileServer, home: Path
) -> None:
    (home / "keys").mkdir()
    (home / "keys").chmod(0o777)
    assert install(server, "keys/below/file", [ONE]) == 1
    assert (home / "keys" / "below" / "file").read_bytes() == ONE + b"\n"
    assert mode(home / "keys" / "below") == 0o700
    assert install(server, "keys/file", [ONE]) == 1
    assert (mode(home / "keys"), mode(home / "keys" / "file")) == (0o755, 0o600)
    assert install(server, "plain", [ONE]) == 1
    assert install(server, f"{home}/absolute", [ONE]) == 1
    assert (home / "absolute").read_bytes() == (home / "plain").read_bytes()


def test_a_link_stays_a_link(server: FileServer, home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / "elsewhere").write_bytes(OLD + b"\n")
    (home / ".ssh" / "authorized_keys").symlink_to("../elsewhere")
    assert install(server, ".ssh/authorized_keys", [ONE]) == 1
    assert (home / ".ssh" / "authorized_keys").is_symlink()
    assert (home / "elsewhere").read_bytes() == OLD + b"\n" + ONE + b"\n"


def test_a_file_of_many_keys_is_read_and_written_whole(server: FileServer, home: Path) -> None:
    path = home / ".ssh" / "authorized_keys"
    path.parent.mkdir()
    old = b"".join(b"ssh-ed25519 AAAA%06d key\n" % number for number in range(30_000))
    path.write_bytes(old)
    assert install(server, ".ssh/authorized_keys", [ONE]) == 1
    assert path.read_bytes() == old + ONE + b"\n"


@pytest.mark.parametrize("changes", [1, 99])
def test_keys_that_somebody_else_adds_meanwhile_are_not_lost(
    home: Path, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    path = home / ".ssh" / "authorized_keys"
    path.parent.mkdir()
    path.write_bytes(OLD + b"\n")
    read, seen = FileServer.read, []

    def meanwhile(self: FileServer, name: bytes) -> bytes:
        data = read(self, name)
        seen.append(name)
        if len(seen) <= changes:
            with path.open("ab") as file:
                file.write(b"ssh-ed25519 AAAA%03d\n" % len(seen))
        return data

    monkeypatch.setattr(FileServer, "read", meanwhile)
    with FileServer([*OURS, "-d", str(home)], os.environ) as server:
        if changes == 1:
            assert install(server, ".ssh/authorized_keys", [ONE]) == 1
        else:
            with pytest.raises(SftpError, match="keeps changing"):
                install(server, ".ssh/authorized_keys", [ONE])
    lines = path.read_bytes().splitlines()
    assert lines[:2] == [OLD, b"ssh-ed25519 AAAA001"]
    assert (ONE in lines) is (changes == 1)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_goes_wrong_leaves_the_old_keys_and_nothing_else(home: Path) -> None:
    path = home / ".ssh" / "authorized_keys"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(OLD + b"\n")
    path.chmod(0o600)
    for denied in ("-R", "-Pwrite", "-Pposix-rename,write"):
        words = [*OURS, "-d", str(home), denied]
        with FileServer(words, os.environ) as server, pytest.raises(RemoteFileForbidden):
            install(server, ".ssh/authorized_keys", [ONE])
        assert path.read_bytes() == OLD + b"\n", denied
        assert [one.name for one in path.parent.iterdir()] == [path.name]
    # What needs no change is not changed: such a server would not let it.
    with FileServer([*OURS, "-d", str(home), "-Psetstat,fsync"], os.environ) as server:
        assert install(server, ".ssh/authorized_keys", [ONE]) == 1


def test_a_file_too_long_to_be_one_of_keys_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_id_files, "_LONGEST_FILE", 100)
    (home / "keys").write_bytes(b"x" * 101)
    words = [*OURS, "-d", str(home)]
    with FileServer(words, os.environ) as server, pytest.raises(SftpError, match="than 100"):
        install(server, "keys", [ONE])
    assert (home / "keys").read_bytes() == b"x" * 101


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["sh", "-c", "exit 7"], ConnectionLost),
        (["sh", "-c", "echo This service runs nothing of the kind."], ProtocolError),
    ],
)
def test_what_is_no_file_server_is_said(words: list[str], error: Any) -> None:
    with pytest.raises(error) as caught:
        FileServer(words, os.environ)
    if error is ConnectionLost:
        assert "status 7" in str(caught.value)
