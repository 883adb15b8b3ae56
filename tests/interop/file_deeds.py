# SPDX-License-Identifier: MIT
"""Who moves files at whose server, and what each is to do there: the rows and columns of one table.

A deed is a function that plants files, tells a client of ``file_clients`` what to do, and looks at what
came of it. Its name is the column's. What cannot be done, and why, is in ``file_gaps``.
"""

import os
import random
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop import file_clients, file_gaps, file_libraries
from tests.interop.file_clients import FileClient, Refused
from tests.interop.odd_names import ODD

DATA = random.Random(31).randbytes(700_001)
CUT = 300_007
LONG_AGO = 1_100_000_000


@dataclass
class Scene:
    """A client, and the two folders that its names are in."""

    client: FileClient
    here: Path
    there: Path
    # Odd names that do not come through.
    lost: Collection[bytes] = ()
    lost_in_trees: Collection[bytes] = ()


ODD_NAME = "odd name "
Deed = Callable[[Scene], None]
DEEDS: dict[str, Deed] = {}


def deed(function: Deed) -> Deed:
    DEEDS[function.__name__.replace("_", " ").strip()] = function
    return function


def plant(top: Path) -> None:
    (top / "sub" / "below").mkdir(parents=True)
    (top / "large").write_bytes(DATA)
    (top / "none").write_bytes(b"")
    (top / "sub" / "small").write_bytes(b"small")
    (top / "sub" / "below" / "a b").write_bytes(b"spaced")


def tree(top: Path) -> dict[str, bytes | None]:
    """What is below a folder."""
    return {
        str(path.relative_to(top)): None if path.is_dir() else path.read_bytes()
        for path in top.rglob("*")
    }


def same(found: Path, data: bytes = DATA) -> None:
    assert found.exists()
    # Not in one comparison: nobody wants to read what differs in so much.
    assert (found.stat().st_size, found.read_bytes() == data) == (len(data), True)


@deed
def list_(scene: Scene) -> None:
    names = {b"plain", b"a b", b"folder", b".dot"}
    for name in names - {b"folder"}:
        (scene.there / os.fsdecode(name)).write_bytes(b"")
    (scene.there / "folder").mkdir()
    scene.client.ls(".")
    scene.client.run()
    assert scene.client.listed() == names


@deed
def get(scene: Scene) -> None:
    (scene.there / "a").write_bytes(DATA)
    scene.client.get("a", "b")
    scene.client.run()
    same(scene.here / "b")


@deed
def put(scene: Scene) -> None:
    (scene.here / "a").write_bytes(DATA)
    (scene.there / "b").write_bytes(b"what was there before " * 50_000)
    scene.client.put("a", "b")
    scene.client.run()
    same(scene.there / "b")


@deed
def get_tree(scene: Scene) -> None:
    plant(scene.there / "tree")
    scene.client.get("tree", "tree", tree=True)
    scene.client.run()
    assert tree(scene.here / "tree") == tree(scene.there / "tree")


@deed
def put_tree(scene: Scene) -> None:
    plant(scene.here / "tree")
    scene.client.put("tree", "tree", tree=True)
    scene.client.run()
    assert tree(scene.there / "tree") == tree(scene.here / "tree")


@deed
def resume_get(scene: Scene) -> None:
    (scene.there / "a").write_bytes(b"x" * CUT + DATA[CUT:])
    (scene.here / "a").write_bytes(DATA[:CUT])
    scene.client.get("a", "a", resume=True)
    scene.client.run()
    # Another beginning there: what is here already has not come a second time.
    same(scene.here / "a")


@deed
def resume_put(scene: Scene) -> None:
    (scene.here / "a").write_bytes(b"x" * CUT + DATA[CUT:])
    (scene.there / "a").write_bytes(DATA[:CUT])
    scene.client.put("a", "a", resume=True)
    scene.client.run()
    same(scene.there / "a")


@deed
def rename_over(scene: Scene) -> None:
    (scene.there / "old").write_bytes(DATA)
    (scene.there / "new").write_bytes(b"in the way")
    scene.client.rename("old", "new")
    scene.client.run()
    same(scene.there / "new")
    assert not (scene.there / "old").exists()


@deed
def symbolic_link(scene: Scene) -> None:
    """SYMLINK has two orders of its paths: a link that is there under its own name was in the right one."""
    scene.client.symlink("not there", "link")
    scene.client.run()
    assert os.readlink(scene.there / "link") == "not there"  # noqa: PTH115 - the text of it
    assert len(list(scene.there.iterdir())) == 1


@deed
def read_link(scene: Scene) -> None:
    client = scene.client
    assert isinstance(client, file_clients.Sshfs | file_libraries.LibraryClient)
    (scene.there / "link").symlink_to("the goal")
    client.readlink("link")
    client.run()
    assert client.texts == [b"the goal"]


@deed
def hard_link(scene: Scene) -> None:
    (scene.there / "old").write_bytes(DATA)
    scene.client.link("old", "new")
    scene.client.run()
    assert (scene.there / "new").samefile(scene.there / "old")


@deed
def modes(scene: Scene) -> None:
    (scene.there / "a").write_bytes(b"")
    (scene.there / "a").chmod(0o600)
    scene.client.chmod(0o751, "a")
    scene.client.run()
    assert stat.S_IMODE((scene.there / "a").stat().st_mode) == 0o751


def kept(scene: Scene, source: Path, copy: Path) -> None:
    mode = 0o751 if scene.client.keeps_modes else stat.S_IMODE(copy.stat().st_mode)
    same(copy, source.read_bytes())
    assert (int(copy.stat().st_mtime), stat.S_IMODE(copy.stat().st_mode)) == (LONG_AGO, mode)


@deed
def keep_up(scene: Scene) -> None:
    """Times, and permissions with most."""
    (scene.here / "a").write_bytes(b"old")
    (scene.here / "a").chmod(0o751)
    os.utime(scene.here / "a", (LONG_AGO, LONG_AGO))
    scene.client.put("a", "b", keep=True)
    scene.client.run()
    kept(scene, scene.here / "a", scene.there / "b")


@deed
def keep_down(scene: Scene) -> None:
    (scene.there / "a").write_bytes(b"old")
    (scene.there / "a").chmod(0o751)
    os.utime(scene.there / "a", (LONG_AGO, LONG_AGO))
    scene.client.get("a", "b", keep=True)
    scene.client.run()
    kept(scene, scene.there / "a", scene.here / "b")


@deed
def folders(scene: Scene) -> None:
    (scene.there / "gone").mkdir()
    (scene.there / "file").write_bytes(b"")
    client = scene.client
    client.mkdir("made")
    client.mkdir("made/below")
    client.rmdir("gone")
    client.rm("file")
    client.run()
    assert tree(scene.there) == {"made": None, "made/below": None}


@deed
def copy_there(scene: Scene) -> None:
    (scene.there / "old").write_bytes(DATA)
    scene.client.copy("old", "new")
    scene.client.run()
    same(scene.there / "new")


@deed
def room(scene: Scene) -> None:
    scene.client.room()
    scene.client.run()


@deed
def odd_names(scene: Scene) -> None:
    names = [name for name in ODD if name not in scene.lost]
    for name in names:
        there_and_back(scene, name)
    scene.client.run()
    for name in names:
        came_through(scene, name)


def one_odd_name(scene: Scene, name: bytes) -> None:
    there_and_back(scene, name)
    scene.client.run()
    came_through(scene, name)


def there_and_back(scene: Scene, name: bytes) -> None:
    (scene.here / os.fsdecode(name)).write_bytes(b"data of " + name)
    (scene.there / os.fsdecode(b"from " + name)).write_bytes(b"more of " + name)
    scene.client.put(name, name)
    scene.client.get(b"from " + name, b"to " + name)


def came_through(scene: Scene, name: bytes) -> None:
    same(scene.there / os.fsdecode(name), b"data of " + name)
    same(scene.here / os.fsdecode(b"to " + name), b"more of " + name)


@deed
def odd_tree(scene: Scene) -> None:
    for top in (scene.here / "up", scene.there / "down"):
        (top / "sub").mkdir(parents=True)
        for number, name in enumerate(ODD):
            if name not in scene.lost_in_trees:
                (top / "sub" / os.fsdecode(name)).write_bytes(b"x" * number)
    scene.client.put("up", "up", tree=True)
    scene.client.get("down", "down", tree=True)
    scene.client.run()
    assert tree(scene.there / "up") == tree(scene.here / "up")
    assert tree(scene.here / "down") == tree(scene.there / "down")


@deed
def nothing_there(scene: Scene) -> None:
    scene.client.get("nothing", "a")
    with pytest.raises(Refused) as caught:
        scene.client.run()
    assert b"Traceback" not in caught.value.args[-1] or scene.client.is_library


# ------------------------------------------------------------------------- who meets whom

CLIENTS: dict[str, type[FileClient]] = {
    kind.name: kind
    for kind in (
        file_clients.OpenSSHSftp,
        file_clients.OpenSSHScp,
        file_clients.OpenSSHRcp,
        file_clients.Psftp,
        file_clients.Pscp,
        file_clients.PscpScp,
        file_clients.Curl,
        file_clients.CurlScp,
        file_clients.Lftp,
        file_clients.Rclone,
        file_clients.Sshfs,
        file_libraries.Paramiko,
        file_libraries.AsyncSSH,
        file_libraries.AsyncSSHScp,
        file_libraries.Ssh2Python,
        file_libraries.ParallelSSH,
        file_libraries.Ssh2,
        file_libraries.Ssh2SftpClient,
    )
}
OURS: dict[str, type[FileClient]] = {
    kind.name: kind
    for kind in (
        file_libraries.TellinLibrary,
        file_clients.TellinSftp,
        file_clients.TellinScp,
        file_clients.TellinRcp,
    )
}

# Server, and the peers that it needs.
SERVERS: dict[str, tuple[str, ...]] = {
    "sshd": ("sshd", "sftp-server", "scp"),
    "dropbear": ("dropbear", "sftp-server", "scp"),
    "asyncssh": ("asyncssh",),
    "paramiko": ("paramiko",),
    "ssh2": ("ssh2",),
    "tellin": (),
}


@dataclass(frozen=True)
class Cell:
    """A deed of a client at a server; ``reason`` where it cannot be, and ``tried`` whether it is all the same."""

    client: str
    server: str
    row: str
    reason: str = ""
    tried: bool = True
    whose: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.client, self.server, self.row

    @property
    def peers(self) -> tuple[str, ...]:
        return (*{**CLIENTS, **OURS}[self.client].peers, *SERVERS[self.server])


def meetings() -> Iterator[tuple[str, str]]:
    """Every client at tellin's server, and tellin's clients at every server."""
    for client in CLIENTS:
        yield client, "tellin"
    for client in OURS:
        for server in SERVERS:
            if not (client == "tellin scp -O" and server in file_gaps.NO_RCP):
                yield client, server


def cells() -> Iterator[Cell]:
    for client, server in meetings():
        gaps = {
            row: (gap, whose)
            for whose, holes in (
                (f"{server}'s server", file_gaps.SERVERS[server]),
                (client, file_gaps.CLIENTS[client]),
                (f"{client} at {server}'s server", file_gaps.PAIRS.get((client, server), ())),
            )
            for gap in holes
            for row in gap.rows
        }
        assert gaps.keys() <= DEEDS.keys()
        for row in DEEDS:
            if row in gaps:
                gap, whose = gaps[row]
                yield Cell(client, server, row, gap.reason, gap.tried, whose)
            else:
                yield Cell(client, server, row)
        for name, (reason, whose) in odd_ones(client, server).items():
            yield Cell(client, server, f"{ODD_NAME}{name!r}", reason, whose=whose)


def odd_ones(client: str, server: str) -> dict[bytes, tuple[str, str]]:
    """The names that get lost where they are written in a command: why, and whose doing it is."""
    pair = client, server
    return {
        name: (reason, whose)
        for whose, names in (
            (f"{client} at {server}'s server", file_gaps.PAIRS_ODD.get(pair, {})),
            (f"{server}'s server", over_sftp(client, server)),
            (client, file_gaps.CLIENTS_ODD.get(client, {})),
        )
        for name, reason in names.items()
    }


def over_sftp(client: str, server: str) -> Mapping[bytes, str]:
    return {} if client == "tellin scp -O" else file_gaps.SERVERS_ODD.get(server, {})


def lost_in_trees(client: str, server: str) -> set[bytes]:
    return {
        *file_gaps.CLIENTS_ODD_IN_TREES.get(client, {}),
        *over_sftp(client, server),
        *file_gaps.PAIRS_ODD_IN_TREES.get((client, server), {}),
    }
