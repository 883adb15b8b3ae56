# SPDX-License-Identifier: MIT
"""Files that are on no disk, of a server in somebody's program, as others' clients see them."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.file_clients import FileClient, Lftp, OpenSSHSftp, Psftp, Refused, Sshfs
from tests.interop.file_libraries import AsyncSSH, Paramiko, Ssh2
from tests.interop.servers import ScriptServer

DATA = random.Random(33).randbytes(300_001)


class EmbeddedServer(ScriptServer):
    name = "embedded"
    script = "embedded_server.py"


@pytest.fixture(params=["memory", "fsspec", "quota"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path, options={"kind": request.param}) as made:
        yield made


@pytest.fixture(
    params=[
        pytest.param(kind, id=kind.name, marks=[pytest.mark.peer(*kind.peers), *marks])
        for kind, marks in (
            (OpenSSHSftp, []),
            (Paramiko, [pytest.mark.slow]),
            (Sshfs, [pytest.mark.slow]),
            (Psftp, [pytest.mark.slow]),
            (Lftp, [pytest.mark.slow]),
            (AsyncSSH, [pytest.mark.slow]),
            (Ssh2, [pytest.mark.slow]),
        )
    ]
)
def kind(request: pytest.FixtureRequest) -> type[FileClient]:
    made: type[FileClient] = request.param
    return made


def client_of(kind: type[FileClient], server: EmbeddedServer, tmp_path: Path) -> FileClient:
    number = len(list(tmp_path.glob("own*")))
    own = tmp_path / f"own{number}"
    own.mkdir()
    (tmp_path / "here").mkdir(exist_ok=True)
    return kind(server.target, tmp_path / "here", Path("/"), own)


def test_files_that_are_on_no_disk_are_put_listed_moved_and_fetched(
    kind: type[FileClient], server: EmbeddedServer, tmp_path: Path
) -> None:
    client = client_of(kind, server, tmp_path)
    (tmp_path / "here" / "a").write_bytes(DATA)
    client.put("a", "a b")
    client.mkdir("folder")
    client.rename("a b", "folder/c")
    client.put("a", "gone")
    client.rm("gone")
    client.run()
    # Another login sees what is there now.
    client = client_of(kind, server, tmp_path)
    client.ls("folder")
    client.get("folder/c", "back")
    client.run()
    assert client.listed() == {b"c"}
    assert (tmp_path / "here" / "back").read_bytes() == DATA
    client = client_of(kind, server, tmp_path)
    client.get("gone", "nothing")
    with pytest.raises(Refused):
        client.run()
    # R179: there is nothing above the root.
    client = client_of(kind, server, tmp_path)
    client.get("../../etc/passwd", "stolen")
    with pytest.raises(Refused):
        client.run()


@pytest.mark.parametrize("server", ["quota"], indirect=True)
def test_a_quota_stops_others_clients_and_spares_what_is_there(
    kind: type[FileClient], server: EmbeddedServer, tmp_path: Path
) -> None:
    client = client_of(kind, server, tmp_path)
    (tmp_path / "here" / "large").write_bytes(DATA * 4)
    (tmp_path / "here" / "a").write_bytes(DATA)
    client.put("large", "too large")
    with pytest.raises(Refused):
        client.run()
    client = client_of(kind, server, tmp_path)
    client.rm("too large")
    client.put("a", "b")
    client.get("hello.txt", "hello")
    client.get("b", "back")
    client.run()
    assert (tmp_path / "here" / "hello").read_bytes() == b"hi"
    assert (tmp_path / "here" / "back").read_bytes() == DATA
    # What is left of five files, hello.txt and b among them.
    for number in range(3):
        client = client_of(kind, server, tmp_path)
        client.put("hello", f"more{number}")
        client.run()
    client = client_of(kind, server, tmp_path)
    client.put("hello", "one too many")
    with pytest.raises(Refused):
        client.run()


@pytest.mark.parametrize("server", ["memory"], indirect=True)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=kind.name, marks=[pytest.mark.peer(*kind.peers), *marks])
        for kind, marks in (
            (OpenSSHSftp, []),
            (Paramiko, [pytest.mark.slow]),
            (Sshfs, [pytest.mark.slow]),
        )
    ],
    indirect=True,
)
def test_memory_has_links_modes_and_room(
    kind: type[FileClient], server: EmbeddedServer, tmp_path: Path
) -> None:
    client = client_of(kind, server, tmp_path)
    assert isinstance(client, OpenSSHSftp | Paramiko | Sshfs)
    client.symlink("hello.txt", "link")
    client.chmod(0o600, "hello.txt")
    client.get("link", "hello")
    if kind is not Paramiko:
        client.room()
        client.link("hello.txt", "hard")
        client.get("hard", "same")
    client.run()
    assert (tmp_path / "here" / "hello").read_bytes() == b"hi"
    if kind is not Paramiko:
        assert (tmp_path / "here" / "same").read_bytes() == b"hi"
