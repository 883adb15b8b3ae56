# SPDX-License-Identifier: MIT
"""Any bytes into both ends of the file transfer protocol; the files are paper."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.fuzz.harness import Harness
from tests.sftp.paper_files import PaperFiles, drain, feed, taken

from tellin.client.files.copying import Item, Links, TreeCopy, Wishes
from tellin.client.files.sides import RemoteSource
from tellin.errors import MalformedPacket, ProtocolError, TellinError
from tellin.server.files.fsspec_files import FsspecFiles
from tellin.server.files.memory_files import MemoryFiles
from tellin.server.files.quota_files import QuotaFiles
from tellin.server.files.rooted_files import RootedFiles
from tellin.sftp import messages, rcp
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import SftpClient
from tellin.sftp.handlers import Handlers, Permits
from tellin.sftp.messages import Entry, framed
from tellin.sftp.remote_files import RemoteFiles
from tellin.sftp.server import MOST_WAITING, SftpServer
from tellin.sftp.waiting import Directly, Job
from tellin.wire import Cursor, Message, string

_ATTRIBUTES = Attributes(1, 2, 3, 0o100644, 5, 6, ((b"name", b"value"),))
_INIT = b"\0\0\0\5\1\0\0\0\3"
_VERSION = string(messages.Version(3, ((b"posix-rename@openssh.com", b"1"),)).encode())
_HANDLE = b"\0\0\0\1"


def to_server(data: bytes) -> None:
    """Whole or in pieces, the answers are the same, and what is open is closed at the end."""
    whole = _answers([data])
    if len(data) < 2000:
        assert _answers(data[at : at + 3] for at in range(0, len(data), 3)) == whole
    # As it comes in packets: what does not fit into the file at the end of a WRITE does not
    # keep its beginning out then, so the answers may differ.
    for size in (7, 50):
        _answers((data[at : at + size] for at in range(0, len(data), size)), give=taken)


def _answers(
    parts: Iterable[bytes], *, give: Callable[[SftpServer, bytes], bytes] = feed
) -> bytes:
    files = PaperFiles(a=b"data" * 1000)
    server = SftpServer(Handlers(files, permits=Permits(), most_handles=10))
    out = b""
    with suppress(ProtocolError):
        for part in parts:
            while part:
                part = give(server, part)
                assert server.waiting < MOST_WAITING + messages.MOST_BYTES * 2
                out += drain(server)
        while data := drain(server):
            out += data
    out += b"".join(server.to_send())
    server.end()
    assert not any(one.open for one in files.opened)
    return out


def _to_back_end(make: Callable[[Path], Any]) -> Callable[[bytes], None]:
    def feed_it(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch, "root")
            root.mkdir()
            Path(scratch, "outside").write_bytes(b"untouched")
            files = make(root)
            handlers = Handlers(files, permits=Permits(), most_handles=10)
            server = SftpServer(handlers)
            with suppress(ProtocolError):
                for at in range(0, len(data), 1000):
                    part = data[at : at + 1000]
                    while part:
                        part = feed(server, part)
                        while drain(server):
                            pass
            server.end()
            if isinstance(files, RootedFiles):
                # A run of ten minutes would use up the descriptors of its process.
                files.close()
            # R179: whatever was asked for.
            assert {path.name for path in Path(scratch).iterdir()} == {"root", "outside"}
            assert Path(scratch, "outside").read_bytes() == b"untouched"

    return feed_it


def _bucket() -> FsspecFiles:
    made = FsspecFiles("memory://", root="bucket", options={"skip_instance_cache": True})
    made.remote.store.clear()
    made.remote.pseudo_dirs[:] = ["", "/bucket"]
    return made


BACK_ENDS: dict[str, Callable[[Path], Any]] = {
    "rooted": RootedFiles,
    "rooted_by_hand": lambda root: RootedFiles(root, by_hand=True),
    "memory": lambda root: MemoryFiles({"a": b"data"}, most_bytes=1 << 20, most_files=20),
    "fsspec": lambda root: _bucket(),
    "quota": lambda root: QuotaFiles(
        MemoryFiles({"a": b"data"}), most_bytes=1 << 16, most_files=10
    ),
}


def to_client(data: bytes) -> None:
    """A hostile server's bytes end in answers or in ProtocolError, and everybody hears once."""
    for begun in (False, True):
        answers: list[tuple[Any, TellinError | None]] = []
        client = SftpClient(on_version=lambda: None)
        client.begin()
        asked = 0
        if begun:
            client.received([memoryview(_VERSION)])
            asked = _ask(client, answers)
        with suppress(ProtocolError):
            client.received([memoryview(data)[:7], memoryview(data)[7:]])
        client.lost(MalformedPacket("the end"))
        assert len(answers) == asked


def _ask(client: SftpClient, answers: list[tuple[Any, TellinError | None]]) -> int:
    def settle(value: Any, error: TellinError | None) -> None:
        answers.append((value, error))

    def take(view: memoryview, position: int) -> None:
        assert 0 <= position <= position + len(view) <= 50

    requests = _requests()
    for request in requests:
        client.ask(request, settle, path=b"/a")
    client.fetch(_HANDLE, 0, 50, take, settle)
    client.write(_HANDLE, 0, memoryview(b"data"), settle)
    return len(requests) + 2


def _requests() -> list[messages.Request]:
    return [
        messages.Open(b"/a", 3, _ATTRIBUTES),
        messages.Read(_HANDLE, 2, 100),
        messages.Write(_HANDLE, 3, b"bytes"),
        messages.FileSetStat(_HANDLE, _ATTRIBUTES),
        messages.OpenDirectory(b"/"),
        messages.ReadDirectory(b"\0\0\0\2"),
        messages.RealPath(b"."),
        messages.SymbolicLink(b"/b", b"/c"),
        messages.ReadLink(b"/c"),
        messages.PosixRename(b"/b", b"/c"),
        messages.StatFileSystem(b"/"),
        messages.CopyData(_HANDLE, 0, 5, b"\0\0\0\3", 7),
        messages.AskLimits(),
        messages.UsersGroupsById(bytes(8), bytes(4)),
        messages.Close(_HANDLE),
    ]


def attributes(data: bytes) -> None:
    """What is read is written to something that is read the same way."""
    try:
        found = Attributes.read(Cursor(data))
    except MalformedPacket:
        return
    assert Attributes.read(Cursor(found.encode())) == found


def _server_seeds() -> Iterator[bytes]:
    frames = [framed(one, number) for number, one in enumerate(_requests())]
    yield _INIT + b"".join(frames)
    yield from (_INIT + frames[0] + frame for frame in frames)


def _way_out_seeds() -> Iterator[bytes]:
    yield from _server_seeds()
    asked = [
        messages.SymbolicLink(b"../outside", b"/out"),
        messages.Open(b"/out", 27, Attributes()),
        messages.Write(_HANDLE, 1 << 62, b"far"),
        messages.Write(_HANDLE, 0, b"near"),
        messages.MakeDirectory(b"/../d", Attributes()),
        messages.PosixRename(b"/d/../../outside", b"/in"),
        messages.HardLink(b"../outside", b"/in"),
        messages.RealPath(b"/d/../../root/x"),
        messages.ExpandPath(b"~root/x"),
        messages.OpenDirectory(b"/.."),
        messages.SetStat(b"/out", Attributes(size=3, permissions=0o777, atime=1, mtime=2)),
        messages.LinkSetStat(b"/out", Attributes(uid=0, gid=0, atime=1, mtime=2)),
        messages.Remove(b"/../outside"),
    ]
    frames = [framed(one, number) for number, one in enumerate(asked)]
    yield _INIT + b"".join(frames)


def _client_seeds() -> Iterator[bytes]:
    entries = (Entry(b"name", b"- name", _ATTRIBUTES),)
    replies: list[tuple[Message, int]] = [
        (messages.Handle(_HANDLE), 0),
        (messages.Data(b"data"), 1),
        (messages.Status(0, b"Success", b""), 2),
        (messages.Status(1, b"End of file", b""), 5),
        (messages.Name(entries), 6),
        (messages.Name(entries * 3), 5),
        (messages.Attrs(_ATTRIBUTES), 9),
        (messages.ExtendedReply(bytes(88)), 10),
        (messages.Data(b"0123456789" * 5), 15),
        (messages.Status(4, b"Failure", b"en"), 16),
    ]
    yield _VERSION
    yield b"".join(framed(message, number) for message, number in replies)
    yield from (framed(message, number) for message, number in replies)


class _Flat:
    """A target that makes nothing, and holds who copies to his word: names are names."""

    most = 3

    def __init__(self) -> None:
        self.open = 0

    async def enter(self, above: int | None, name: bytes, attributes: Attributes) -> int:
        assert name == b"to" if above is None else _is_name(name)
        self.open += 1
        return self.open

    async def leave(self, place: int, attributes: Attributes, *, preserve: bool) -> None:
        self.open -= 1

    def abandon(self, place: int) -> None:
        self.open -= 1

    async def link(self, above: int, name: bytes, destination: bytes) -> None:
        assert _is_name(name)

    async def move(self, item: Item) -> None:
        assert _is_name(item.name)


def _is_name(name: bytes) -> bool:
    return name not in {b"", b".", b".."} and not {0, ord("/")} & {*name}


def to_tree_copy(data: bytes) -> None:
    """Whatever a hostile server lists: what is made has a single name, and all that began is ended."""
    for links in Links:
        client = SftpClient(on_version=lambda: None)
        client.begin()
        client.received([memoryview(_VERSION)])
        files = RemoteFiles(client, Directly())
        target = _Flat()
        wishes = Wishes(recursive=True, links=links)
        copy = TreeCopy(files.waits, RemoteSource(files), target, target, wishes)
        jobs = [Job(copy.run([(b"from", b"to")])), Job(files.glob(b"**/[a-z]*"))]
        with suppress(ProtocolError):
            client.received([memoryview(data)])
        client.lost(MalformedPacket("the end"))
        assert all(job.done() for job in jobs)
        assert all(isinstance(job.exception(), TellinError | None) for job in jobs)
        assert target.open == 0


def _tree_seeds() -> Iterator[bytes]:
    folder = Attributes(permissions=0o040755)
    file = Attributes(permissions=0o100644, size=4)
    link = Attributes(permissions=0o120777)
    listing = messages.Name(
        (Entry(b"a", b"", file), Entry(b"d", b"", folder), Entry(b"l", b"", link))
    )
    real = messages.Name((Entry(b"/x", b"", Attributes()),))
    end = messages.Status(1, b"", b"")
    # The copy and the search ask in turn: 0 looks at the top, 1 opens a directory to search it.
    replies: list[Message] = [messages.Attrs(folder), messages.Handle(_HANDLE), real, listing]
    replies += [messages.Handle(_HANDLE), listing, end, end, end, listing, end, end, end, real]
    yield b"".join(framed(one, number) for number, one in enumerate(replies))
    for odd in (b"..", b"a/b", b""):
        bad = messages.Name((Entry(odd, b"", folder),))
        yield b"".join(
            framed(bad if one is listing else one, number) for number, one in enumerate(replies)
        )


class _Nowhere:
    """Keeps nothing, and holds a sink to its word: what begins ends, and names are names."""

    def __init__(self) -> None:
        self.left = -1
        self.depth = 0

    def begin_file(self, name: bytes, mode: int, size: int, times: rcp.Times | None) -> None:
        self._named(name, mode)
        assert self.left < 0
        assert 0 <= size < 2**63
        if mode == 0o222:
            raise PermissionError(13, "Permission denied")
        self.left = size

    def _named(self, name: bytes, mode: int) -> None:
        assert name not in {b"", b".", b".."}
        assert not {0, ord("/")} & {*name}
        assert 0 <= mode <= 0o7777

    def data(self, view: memoryview) -> None:
        assert 0 < len(view) <= self.left
        self.left -= len(view)

    def end_file(self) -> None:
        assert self.left == 0
        self.left = -1

    def drop_file(self) -> None:
        self.end_file()

    def begin_directory(self, name: bytes, mode: int, times: rcp.Times | None) -> None:
        self._named(name, mode)
        assert self.left < 0
        self.depth += 1

    def end_directory(self) -> None:
        self.depth -= 1
        assert self.depth >= 0

    def told(self, text: bytes) -> None:
        assert b"\n" not in text


def to_rcp_sink(data: bytes) -> None:
    """Whole or in pieces the answers are the same, and an error is MalformedPacket."""
    whole = _rcp_answers(data, len(data) or 1)
    assert whole.startswith(b"\0")
    if len(data) < 2000:
        assert _rcp_answers(data, 3) == whole


def _rcp_answers(data: bytes, step: int) -> bytes:
    sink = rcp.Sink(_Nowhere(), recursive=True, accepts=lambda name: name != b"odd")
    out = b""
    with suppress(MalformedPacket):
        for at in range(0, len(data), step):
            sink.received(memoryview(data)[at : at + step])
            out += sink.to_send()
        sink.ended()
    return out + sink.to_send()


def to_rcp_source(data: bytes) -> None:
    """Answers of any kind are told one by one, with a text of one line."""
    answers = rcp.Answers()
    with suppress(MalformedPacket):
        answers.received(memoryview(data)[:5])
        answers.received(memoryview(data)[5:])
    while (answer := answers.take()) is not None:
        assert answer.code in {rcp.OK, rcp.FAILED, rcp.OVER}
        assert b"\n" not in answer.text


_RCP = [
    b"T5 0 6 0\nD0755 0 d\nC0644 4 a\nfour\0E\n",
    b"C0644 0 a\n\0C0222 1 b\nC0600 2 c\nab\1scp: c: bad\n",
    b"C0644 3 odd\nodd\0",
    b"\2over\n",
]

HARNESSES = [
    Harness("file_trees", to_tree_copy, covers=[], seeds=_tree_seeds),
    Harness(
        "rcp_sink",
        to_rcp_sink,
        covers=["tellin.sftp.rcp.Sink.received"],
        seeds=lambda: _RCP,
    ),
    Harness(
        "rcp_source",
        to_rcp_source,
        covers=["tellin.sftp.rcp.Answers.received"],
        seeds=lambda: [b"\0\0\1failed\n\0", b"\2over\n", b"sh: scp: not found\n"],
    ),
    Harness("file_server", to_server, covers=[], seeds=_server_seeds),
    *(
        Harness(f"file_server_{name}", _to_back_end(make), covers=[], seeds=_way_out_seeds)
        for name, make in BACK_ENDS.items()
    ),
    Harness(
        "file_server_user",
        to_client,
        covers=["tellin.sftp.client.SftpClient.received"],
        seeds=_client_seeds,
    ),
    Harness(
        "file_attributes",
        attributes,
        covers=["tellin.sftp.attributes.Attributes.read"],
        seeds=lambda: [_ATTRIBUTES.encode(), Attributes(size=1).encode(), bytes(4)],
    ),
]
