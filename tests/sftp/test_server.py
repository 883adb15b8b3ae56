# SPDX-License-Identifier: MIT

import struct
from typing import Any

import pytest
from tests.sftp.paper_files import PaperFiles, Talk, code, drain, feed, replies, taken

from tellin.errors import (
    ProtocolError,
    RemoteFileForbidden,
    RemoteFileNotFound,
    SftpError,
)
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.handlers import WRITING, Handlers, Permits
from tellin.sftp.messages import (
    EXTENSIONS,
    MOST_DATA,
    OPEN_CREATE,
    OPEN_EXCLUSIVE,
    OPEN_READ,
    OPEN_TRUNCATE,
    OPEN_WRITE,
    REQUESTS,
    Close,
    Extended,
    Limits,
    Names,
    Open,
    OpenDirectory,
    ReadDirectory,
    Request,
    Stat,
    framed,
)
from tellin.sftp.server import MOST_WAITING, SftpServer
from tellin.wire import Cursor, string

NOTHING = Attributes()
INIT = struct.pack(">IBI", 5, 1, 3)
OPENED = string(b"salt\0\0\0\1")


def bare(files: Any = None, **named: Any) -> SftpServer:
    permits = named.pop("permits", Permits())
    return SftpServer(Handlers(files or PaperFiles(), permits=permits, salt=b"salt", **named))


def begun(files: Any = None, **named: Any) -> SftpServer:
    server = bare(files, **named)
    feed(server, INIT)
    drain(server)
    return server


def answer(server: SftpServer, frame: bytes) -> tuple[int, int, bytes]:
    feed(server, frame)
    (one,) = replies(drain(server))
    return one


def read_frame(handle: bytes, offset: int, length: int, request_id: int = 1) -> bytes:
    body = struct.pack(">BI", 5, request_id) + string(handle) + struct.pack(">QI", offset, length)
    return string(body)


# The beginning


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 6, 0xFFFFFFFF])
def test_case_226_whatever_version_comes_the_answer_is_3_with_all_extensions(version: int) -> None:
    server = bare()
    feed(server, struct.pack(">IBI", 5, 1, version))
    data = drain(server)
    greeting = messages.Version.decode(data[4:])
    assert greeting.version == 3
    assert greeting.extensions == tuple((one.key, one.version) for one in EXTENSIONS.values())


@pytest.mark.parametrize(
    "first",
    [
        framed(Stat(b"/"), 1),
        framed(Close(b"h"), 1),
        read_frame(b"h", 0, 1),
        framed(messages.Status(0, b"", b""), 1),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_case_225_nothing_is_done_before_init(first: bytes) -> None:
    files = PaperFiles()
    server = bare(files)
    with pytest.raises(ProtocolError):
        feed(server, first)
    assert drain(server) == b""
    assert files.calls == []
    assert not server.hungry


def test_r182_case_226_a_second_init_is_the_end() -> None:
    server = begun()
    with pytest.raises(ProtocolError):
        feed(server, INIT)
    assert not server.hungry


@pytest.mark.parametrize("length", [0, 4, 262145, 0xFFFFFFFF])
def test_case_227_a_length_out_of_bounds_is_the_end_before_there_is_room_for_it(
    length: int,
) -> None:
    server = begun()
    with pytest.raises(ProtocolError):
        feed(server, length.to_bytes(4, "big"))
    assert not server.hungry


def test_case_227_a_message_that_is_cut_off_is_waited_for_and_does_nothing() -> None:
    files = PaperFiles()
    server = begun(files)
    frame = framed(messages.MakeDirectory(b"/d", NOTHING), 1)
    for at in range(len(frame) - 1):
        feed(server, frame[at : at + 1])
    assert (drain(server), files.calls) == (b"", [])
    feed(server, frame[-1:])
    assert code(replies(drain(server))[0]) == 0


def test_of_a_write_so_much_counts_as_its_length_says() -> None:
    # Go's pkg/sftp, and rclone with it, sends the whole of its last buffer.
    server = begun(PaperFiles(a=b""))
    flags = messages.OPEN_READ | messages.OPEN_WRITE
    kind, _, payload = answer(server, framed(Open(b"/a", flags, NOTHING), 1))
    assert kind == messages.Handle.number
    handle = Cursor(payload).string()
    body = struct.pack(">BI", 6, 2) + string(handle) + struct.pack(">QI", 0, 3) + b"abcdef"
    assert code(answer(server, string(body))) == 0
    assert answer(server, read_frame(handle, 0, 9, 3))[2] == string(b"abc")


# Fields


def short_and_long() -> list[Any]:
    rows = []
    samples: list[Request] = [
        Open(b"/a", 1, NOTHING),
        Close(b"h"),
        messages.LinkStat(b"/a"),
        messages.SetStat(b"/a", Attributes(size=1)),
        ReadDirectory(b"h"),
        messages.Rename(b"/a", b"/b"),
        messages.SymbolicLink(b"/a", b"/b"),
        messages.PosixRename(b"/a", b"/b"),
        messages.CopyData(b"h", 0, 0, b"i", 0),
        messages.AskLimits(),
    ]
    for request in samples:
        frame = framed(request, 7)
        rows.append(pytest.param(frame[4:] + b"\0", id=f"case 229: {request.name} and a byte"))
        if not isinstance(request, messages.AskLimits):
            rows.append(pytest.param(frame[4:-1], id=f"case 229: {request.name} cut short"))
    read = read_frame(b"h", 0, 5, 7)[4:]
    write = struct.pack(">BI", 6, 7) + string(b"h") + struct.pack(">QI", 0, 5)
    rows += [
        pytest.param(read + b"\0", id="case 229: read and a byte"),
        pytest.param(read[:-1], id="case 229: read cut short"),
        pytest.param(read[:7], id="case 229: read without a handle"),
        pytest.param(struct.pack(">BIIB", 5, 7, 9, 9), id="case 229: a handle past the end"),
        pytest.param(write + b"1234", id="case 229: less to write than said"),
        pytest.param(write[:-2], id="case 229: write cut short"),
        pytest.param(struct.pack(">BI", 17, 7) + string(b"/a\0b"), id="R189: a NUL in a path"),
    ]
    return rows


@pytest.mark.parametrize("frame", short_and_long())
def test_a_message_that_does_not_fit_its_length_is_a_bad_one_and_the_next_is_served(
    frame: bytes,
) -> None:
    """Case 229."""
    server = begun(PaperFiles(a=b"data"))
    one = answer(server, string(frame))
    assert (code(one), one[1]) == (5, 7)
    assert answer(server, framed(Stat(b"/a"), 8))[0] == 105


def test_what_nobody_knows_is_unsupported() -> None:
    server = begun()
    assert code(answer(server, string(struct.pack(">BI", 77, 1)))) == 8
    assert code(answer(server, framed(Extended(b"what@ever", b""), 2))) == 8
    assert code(answer(server, framed(messages.Data(b""), 3))) == 8


# Handles


@pytest.mark.parametrize(
    "handle",
    [
        b"",
        b"salt",
        b"salt\0\0\0\0",
        b"salt\0\0\0\2",
        pytest.param(b"pepp\0\0\0\1", id="case 231: of another session"),
        pytest.param(b"salt\0\0\0\1" * 32 + b"!", id="R180 case 230: of 257 bytes"),
    ],
)
def test_r181_case_230_what_is_no_handle_opens_nothing(handle: bytes) -> None:
    talk = Talk(PaperFiles(a=b"data"))
    assert talk.handle(Open(b"/a", OPEN_READ, NOTHING)) == b"salt\0\0\0\1"
    for request in (
        Close(handle),
        messages.FileStat(handle),
        messages.FileSetStat(handle, NOTHING),
        ReadDirectory(handle),
        messages.FileStatFileSystem(handle),
        messages.FileSync(handle),
        messages.CopyData(handle, 0, 0, b"salt\0\0\0\1", 0),
        messages.CopyData(b"salt\0\0\0\1", 0, 0, handle, 0),
    ):
        with pytest.raises(SftpError) as caught:
            talk.ask(request)
        assert caught.value.status == 4
    with pytest.raises(SftpError):
        talk.read(handle, 0, 5)
    with pytest.raises(SftpError):
        talk.write(handle, 0, b"x")
    assert talk.files.data[b"/a"] == b"data"


def test_case_230_a_closed_handle_and_one_of_the_other_kind_are_none() -> None:
    talk = Talk(PaperFiles(a=b"data"))
    file = talk.handle(Open(b"/a", OPEN_READ, NOTHING))
    directory = talk.handle(OpenDirectory(b"/"))
    for request in (ReadDirectory(file), messages.FileStat(directory)):
        with pytest.raises(SftpError):
            talk.ask(request)
    talk.ask(Close(file))
    talk.ask(Close(directory))
    for request in (Close(file), ReadDirectory(directory)):
        with pytest.raises(SftpError):
            talk.ask(request)
    # The next one is none of those that were.
    assert talk.handle(Open(b"/a", OPEN_READ, NOTHING)) not in {file, directory}


def test_r180_case_235_open_handles_are_limited_and_closed_when_the_client_is_gone() -> None:
    talk = Talk(PaperFiles(a=b"data"), most_handles=3)
    for request in (Open(b"/a", OPEN_READ, NOTHING), OpenDirectory(b"/")):
        talk.handle(request)
    handle = talk.handle(Open(b"/a", OPEN_READ, NOTHING))
    for request in (Open(b"/a", OPEN_READ, NOTHING), OpenDirectory(b"/")):
        with pytest.raises(SftpError) as caught:
            talk.ask(request)
        assert caught.value.status == 4
    assert len(talk.files.opened) == 3
    talk.ask(Close(handle))
    talk.handle(OpenDirectory(b"/"))
    assert Limits.decode(talk.ask(messages.AskLimits()).contents).most_handles == 3
    talk.server.end()
    assert not any(one.open for one in talk.files.opened)


def test_r180_a_path_beyond_4096_bytes_is_refused_and_never_cut() -> None:
    talk = Talk()
    long = b"/" + b"x" * 4096
    for request in (
        Open(long, OPEN_CREATE | OPEN_WRITE, NOTHING),
        messages.MakeDirectory(long, NOTHING),
        messages.SymbolicLink(b"/a", long),
        messages.Rename(b"/a", long),
        messages.HardLink(long, b"/a"),
        messages.HomeDirectory(long),
    ):
        with pytest.raises(SftpError) as caught:
            talk.ask(request)
        assert caught.value.status == 4
    assert (talk.files.calls, talk.files.data, talk.files.links) == ([], {}, {})


# Reading and writing


@pytest.mark.parametrize("length", [262144, 0xFFFFFFFF])
def test_r181_a_read_of_too_much_is_cut_to_what_a_message_holds(length: int) -> None:
    talk = Talk(PaperFiles(a=bytes(400_000)))
    handle = talk.handle(Open(b"/a", OPEN_READ, NOTHING))
    assert len(talk.read(handle, 0, length)) == MOST_DATA
    assert talk.read(handle, 400_000, length) == b""


def test_a_read_of_nothing_is_answered_with_nothing() -> None:
    server = begun(PaperFiles(a=b"data"))
    answer(server, framed(Open(b"/a", OPEN_READ, NOTHING), 1))
    assert answer(server, read_frame(b"salt\0\0\0\1", 0, 0)) == (103, 1, bytes(4))


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_case_233_an_offset_beyond_any_file_is_a_failure(offset: int) -> None:
    talk = Talk(PaperFiles(a=b"data"))
    handle = talk.handle(Open(b"/a", OPEN_READ | OPEN_WRITE, NOTHING))
    with pytest.raises(SftpError) as caught:
        talk.write(handle, offset, b"x")
    assert caught.value.status == 4
    with pytest.raises(SftpError):
        talk.read(handle, offset, 5)
    with pytest.raises(SftpError):
        talk.ask(messages.SetStat(b"/a", Attributes(size=offset)))
    assert talk.files.data[b"/a"] == b"data"


def test_case_247_a_full_disk_fails_the_write_and_the_next_request_is_served() -> None:
    talk = Talk(PaperFiles(a=b"data"))
    handle = talk.handle(Open(b"/a", OPEN_WRITE, NOTHING))
    talk.files.full = True
    with pytest.raises(SftpError) as caught:
        talk.write(handle, 0, b"x")
    assert caught.value.status == 4
    talk.files.full = False
    talk.write(handle, 4, b"x")
    assert talk.files.data[b"/a"] == b"datax"


def test_case_246_a_client_that_does_not_read_is_not_worked_for() -> None:
    server = begun(PaperFiles(a=bytes(200_000)))
    answer(server, framed(Open(b"/a", OPEN_READ, NOTHING), 0))
    asked = b"".join(read_frame(b"salt\0\0\0\1", 0, 100_000, number) for number in range(1000))
    left = feed(server, asked)
    assert left
    assert not server.hungry
    assert MOST_WAITING <= server.waiting < MOST_WAITING + 300_000
    # As it reads, the others are answered, in their order.
    seen: list[int] = []
    while len(seen) < 1000:
        assert server.waiting < MOST_WAITING + 300_000
        seen += [request_id for _, request_id, _ in replies(drain(server))]
        left = feed(server, left)
    assert seen == list(range(1000))


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (0, None),
        (OPEN_EXCLUSIVE, 4),
        (OPEN_READ | OPEN_EXCLUSIVE, 4),
        (OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE, 4),
        (OPEN_WRITE | OPEN_TRUNCATE, None),
        (0x3F, 4),
        (0xFFFFFFFF, 4),
    ],
)
def test_case_234_flags_of_open_that_do_not_fit(flags: int, status: int | None) -> None:
    talk = Talk(PaperFiles(a=b"data"))
    if status is None:
        assert talk.handle(Open(b"/a", flags, NOTHING))
        return
    with pytest.raises(SftpError) as caught:
        talk.ask(Open(b"/a", flags, NOTHING))
    assert caught.value.status == status
    if flags & OPEN_EXCLUSIVE and not flags & OPEN_CREATE:
        # What such flags mean the system does not say, so it is not asked.
        assert not talk.files.calls


# What the others do


def test_case_241_a_rename_onto_a_file_fails_and_a_posix_rename_does_not() -> None:
    talk = Talk(PaperFiles(a=b"1", b=b"2"))
    with pytest.raises(SftpError) as caught:
        talk.ask(messages.Rename(b"/a", b"/b"))
    assert caught.value.status == 4
    assert talk.files.data == {b"/a": b"1", b"/b": b"2"}
    talk.ask(messages.PosixRename(b"/a", b"/b"))
    assert talk.files.data == {b"/b": b"1"}


def test_r177_case_242_a_file_is_not_copied_into_itself() -> None:
    talk = Talk(PaperFiles(a=b"0123456789", b=b""))
    source = talk.handle(Open(b"/a", OPEN_READ, NOTHING))
    again = talk.handle(Open(b"/a", OPEN_WRITE, NOTHING))
    target = talk.handle(Open(b"/b", OPEN_WRITE, NOTHING))
    for request in (
        messages.CopyData(source, 0, 5, source, 2),
        messages.CopyData(source, 0, 0, again, 10),
        messages.CopyData(source, 0, 1 << 63, target, 0),
        messages.CopyData(source, 1 << 63, 0, target, 0),
        messages.CopyData(source, 0, 0, target, (1 << 64) - 1),
    ):
        with pytest.raises(SftpError) as caught:
            talk.ask(request)
        assert caught.value.status == 4
    assert talk.files.data == {b"/a": b"0123456789", b"/b": b""}
    talk.ask(messages.CopyData(source, 7, 0, target, 1))
    assert talk.files.data[b"/b"] == b"\x00789"


def test_case_239_a_huge_directory_comes_in_replies_of_a_hundred() -> None:
    files = PaperFiles(**{f"{number:04}": b"" for number in range(250)})
    talk = Talk(files)
    handle = talk.handle(OpenDirectory(b"/"))
    sizes = []
    while entries := talk.ask(ReadDirectory(handle)).entries:
        sizes.append(len(entries))
    assert sizes == [100, 100, 50]


def test_case_243_extensions_answer_odd_wishes_within_bounds() -> None:
    talk = Talk(PaperFiles(a=b"data"))
    four = struct.pack(">4I", 0, 1, 0xFFFFFFFF, 7)
    names = Names.decode(talk.ask(messages.UsersGroupsById(four, four[:4])).contents)
    cursor = Cursor(names.users)
    assert [cursor.string() for _ in range(4)] == [b"u0", b"u1", b"u4294967295", b"u7"]
    assert names.groups == string(b"g0")
    for uids in (bytes(5), bytes(4 * 5000)):
        with pytest.raises(SftpError) as caught:
            talk.ask(messages.UsersGroupsById(uids, b""))
        assert caught.value.status == 4
    with pytest.raises(SftpError) as caught:
        talk.ask(messages.LinkSetStat(b"/a", Attributes(size=1)))
    assert caught.value.status == 5
    limits = Limits.decode(talk.ask(messages.AskLimits()).contents)
    assert (limits.largest_message, limits.largest_read, limits.largest_write) == (
        262144,
        261120,
        261120,
    )
    assert talk.ask(messages.ExpandPath(b"~x")).entries[0].filename == b"/home/~x"
    assert talk.ask(messages.HomeDirectory(b"me")).entries[0].filename == b"/home/me"
    assert talk.ask(messages.RealPath(b"")).entries[0].filename == b"/home"


def test_one_change_that_fails_does_not_keep_the_others_from_being_made() -> None:
    talk = Talk(PaperFiles(a=b"data"))
    wanted = Attributes(size=3, uid=0, gid=0, permissions=0o100600, atime=1, mtime=2)
    with pytest.raises(RemoteFileForbidden):
        talk.ask(messages.SetStat(b"/a", wanted))
    changes = [call[2] for call in talk.files.calls]
    assert changes == [
        Attributes(size=3),
        Attributes(permissions=0o600),
        Attributes(atime=1, mtime=2),
        Attributes(uid=0, gid=0),
    ]


@pytest.mark.parametrize("target_first", [True, False])
def test_the_paths_of_a_link_are_taken_in_the_clients_order(target_first: bool) -> None:
    talk = Talk(target_first=target_first)
    talk.ask(messages.SymbolicLink(b"first", b"second"))
    assert talk.files.links == ({b"second": b"first"} if target_first else {b"first": b"second"})


# What is not permitted

EVERY_REQUEST: list[Request] = [
    Open(b"/a", OPEN_READ, NOTHING),
    Close(b"h"),
    messages.Read(b"h", 0, 1),
    messages.Write(b"h", 0, b"x"),
    messages.LinkStat(b"/a"),
    messages.FileStat(b"h"),
    messages.SetStat(b"/a", NOTHING),
    messages.FileSetStat(b"h", NOTHING),
    OpenDirectory(b"/"),
    ReadDirectory(b"h"),
    messages.Remove(b"/a"),
    messages.MakeDirectory(b"/d", NOTHING),
    messages.RemoveDirectory(b"/d"),
    messages.RealPath(b"."),
    Stat(b"/a"),
    messages.Rename(b"/a", b"/b"),
    messages.ReadLink(b"/a"),
    messages.SymbolicLink(b"/a", b"/b"),
    messages.PosixRename(b"/a", b"/b"),
    messages.StatFileSystem(b"/"),
    messages.FileStatFileSystem(b"h"),
    messages.HardLink(b"/a", b"/b"),
    messages.FileSync(b"h"),
    messages.LinkSetStat(b"/a", NOTHING),
    messages.AskLimits(),
    messages.ExpandPath(b"~"),
    messages.CopyData(b"h", 0, 0, b"i", 0),
    messages.HomeDirectory(b""),
    messages.UsersGroupsById(b"", b""),
]


def test_the_list_of_requests_is_whole() -> None:
    kinds = {*REQUESTS.values(), *EXTENSIONS.values()} - {Extended}
    assert {type(one) for one in EVERY_REQUEST} == kinds


@pytest.mark.parametrize("request_", EVERY_REQUEST, ids=lambda one: one.name)
def test_case_245_a_request_that_is_denied_or_not_allowed_is_refused_and_not_offered(
    request_: Request,
) -> None:
    name = request_.name
    for permits, objection in (
        (Permits(denied=frozenset({name})), f"Refusing denylisted {name} request"),
        (Permits(allowed=frozenset({"x"})), f"Refusing non-allowlisted {name} request"),
    ):
        talk = Talk(PaperFiles(a=b"data"), permits=permits)
        before = talk.files.data.copy()
        with pytest.raises(SftpError) as caught:
            _send(talk, request_)
        assert caught.value.status == 3
        assert (talk.files.data, talk.files.calls) == (before, [])
        assert (4, objection) in talk.lines
        key = getattr(type(request_), "key", b"")
        assert key not in talk.client.extensions
    only = Talk(PaperFiles(a=b"data"), permits=Permits(allowed=frozenset({name})))
    assert _status(only, request_) != 3


@pytest.mark.parametrize("request_", EVERY_REQUEST, ids=lambda one: one.name)
def test_r178_a_read_only_server_refuses_all_that_changes_anything(request_: Request) -> None:
    talk = Talk(PaperFiles(a=b"data"), permits=Permits(read_only=True))
    if type(request_) in WRITING:
        with pytest.raises(RemoteFileForbidden):
            _send(talk, request_)
        assert talk.files.calls == []
        assert getattr(type(request_), "key", b"") not in talk.client.extensions
    else:
        assert _status(talk, request_) != 3
    assert talk.files.data == {b"/a": b"data"}


@pytest.mark.parametrize("flags", [2, 3, 4, 5, 8, 9, 16, 17, 1 | 8 | 32, 0x3F])
def test_r178_a_read_only_server_opens_nothing_to_write_make_or_empty(flags: int) -> None:
    talk = Talk(PaperFiles(a=b"data"), permits=Permits(read_only=True))
    for path in (b"/a", b"/new"):
        with pytest.raises(RemoteFileForbidden):
            talk.ask(Open(path, flags, NOTHING))
    assert talk.files.data == {b"/a": b"data"}
    handle = talk.handle(Open(b"/a", OPEN_READ, NOTHING))
    assert talk.read(handle, 0, 10) == b"data"


def _send(talk: Talk, request: Request) -> object:
    if isinstance(request, messages.Read):
        return talk.read(request.handle, request.offset, request.length)
    if isinstance(request, messages.Write):
        return talk.write(request.handle, request.offset, request.data)
    return talk.ask(request)


def _status(talk: Talk, request: Request) -> int:
    try:
        _send(talk, request)
    except SftpError as error:
        return error.status
    return 0


def test_the_log_speaks_as_openssh_does() -> None:
    talk = Talk(PaperFiles(a=b"data"), show_time=lambda seconds: f"<{seconds}>")
    handle = talk.handle(Open(b"/a", 27, Attributes(permissions=0o644)))
    talk.write(handle, 0, b"12345")
    talk.read(handle, 0, 3)
    talk.ask(Close(handle))
    with pytest.raises(RemoteFileNotFound):
        talk.ask(Stat(b"/none"))
    talk.ask(messages.SetStat(b"/a", Attributes(permissions=0o600, atime=1, mtime=2)))
    talk.handle(OpenDirectory(b"/"))
    talk.server.end()
    assert [line for level, line in talk.lines if level <= 4] == [
        "received client version 3",
        'open "/a" flags READ,WRITE,CREATE,TRUNCATE mode 0644',
        'close "/a" bytes read 3 written 5',
        'stat name "/none"',
        "sent status No such file",
        'set "/a" mode 0600',
        'set "/a" modtime <2>',
        'opendir "/"',
        'forced closedir "/"',
    ]


# In views, and in places


def write_frame(
    handle: bytes, offset: int, data: bytes, request_id: int, *, more: int = 0
) -> bytes:
    head = struct.pack(">BI", 6, request_id) + string(handle)
    return string(head + struct.pack(">QI", offset, len(data)) + data + bytes(more))


def conversation() -> bytes:
    """Requests of all shapes, with WRITEs of every kind between the others."""
    handle, other = b"salt\0\0\0\1", b"salt\0\0\0\2"
    block = bytes(range(256)) * 4
    return b"".join(
        (
            framed(Open(b"/new", OPEN_READ | OPEN_WRITE | OPEN_CREATE, NOTHING), 1),
            framed(Open(b"/other", OPEN_READ | OPEN_WRITE | OPEN_CREATE, NOTHING), 2),
            write_frame(handle, 0, block, 3),
            write_frame(handle, 1024, block, 4),
            write_frame(other, 3, b"", 5),
            write_frame(other, 5, b"five", 6),
            write_frame(b"short", 0, b"to nobody", 7),
            write_frame(b"salt\0\0\0\7", 0, block, 8),
            write_frame(handle, 2048, b"with more behind it", 9, more=9),
            write_frame(handle, (1 << 64) - 9, block, 10),
            read_frame(handle, 0, 5000, 11),
            write_frame(handle, 2, b"again", 12),
            read_frame(handle, 0, 9, 13),
            read_frame(other, 0, 20, 14),
            framed(Close(handle), 15),
            write_frame(handle, 0, b"too late", 16),
            write_frame(other, 0, block, 17),
        )
    )


@pytest.mark.parametrize("permits", [Permits(), Permits(denied=frozenset({"write"}))])
@pytest.mark.parametrize("size", [1, 2, 5, 31, 32, 33, 34, 400, 1 << 20])
def test_what_is_taken_in_any_pieces_is_done_as_if_it_came_whole(
    size: int, permits: Permits
) -> None:
    data = conversation()
    files = PaperFiles(), PaperFiles()
    whole, server = (begun(one, permits=permits) for one in files)
    feed(whole, data)
    out = b""
    for at in range(0, len(data), size):
        taken(server, data[at : at + size])
        out += drain(server)
    assert replies(out) == replies(drain(whole))
    assert files[1].data == files[0].data


def test_of_a_write_as_much_is_used_up_at_once_as_has_come() -> None:
    files = PaperFiles(f=b"")
    server = begun(files)
    feed(server, framed(Open(b"/f", OPEN_WRITE, NOTHING), 1))
    drain(server)
    frame = write_frame(b"salt\0\0\0\1", 0, b"x" * 1000, 2)
    assert server.take([memoryview(frame[:500])]) == 500
    assert files.data[b"/f"] == b"x" * (500 - 33)
    assert server.take([memoryview(frame[500:] + b"\0\0\0")]) == len(frame) - 500
    assert [code(one) for one in replies(drain(server))] == [0]


def test_r176_a_write_that_fails_in_its_middle_is_a_failure_and_writes_no_more() -> None:
    files = PaperFiles(f=b"")
    server = begun(files)
    feed(server, framed(Open(b"/f", OPEN_WRITE, NOTHING), 1))
    drain(server)
    frame = write_frame(b"salt\0\0\0\1", 0, b"x" * 1000, 2)
    taken(server, frame[:500])
    files.full = True
    taken(server, frame[500:600])
    files.full = False
    taken(server, frame[600:] + write_frame(b"salt\0\0\0\1", 0, b"y", 3))
    assert [(one[1], code(one)) for one in replies(drain(server))] == [(2, 4), (3, 0)]
    assert files.data[b"/f"] == b"y" + b"x" * (500 - 33 - 1)


class PaperPlaces:
    """Places in two parts, while there are some."""

    def __init__(self, *, whole: bool = True) -> None:
        self.replies: list[bytes] = []
        self.is_ready = True
        self.whole = whole
        self._views: list[memoryview] = []

    def ready(self) -> bool:
        return self.is_ready

    def reserve(self, size: int) -> list[memoryview]:
        if not self.whole:
            return []
        room = memoryview(bytearray(size))
        self._views = [room[:16], room[16:]]
        return list(self._views)

    def commit(self, count: int) -> None:
        self.replies.append(b"".join(self._views)[:count])


def reading(places: PaperPlaces, **named: Any) -> SftpServer:
    files = PaperFiles(f=bytes(range(200)))
    server = SftpServer(Handlers(files, permits=Permits(), salt=b"salt"), places=places, **named)
    feed(server, INIT)
    feed(server, framed(Open(b"/f", OPEN_READ, NOTHING), 1))
    drain(server)
    return server


def test_what_is_read_goes_into_the_places_of_its_reply_and_is_as_long_as_there_is_of_it() -> None:
    places = PaperPlaces()
    server = reading(places)
    for at, (offset, length) in enumerate([(0, 100), (10, 1), (150, 100), (198, 100)]):
        feed(server, read_frame(b"salt\0\0\0\1", offset, length, at))
    assert drain(server) == b""
    found = [bytes(range(200))[at : at + size] for at, size in [(0, 100), (10, 1), (150, 100)]]
    found.append(bytes([198, 199]))
    assert [one[2] for one in replies(b"".join(places.replies))] == [string(one) for one in found]
    # The end, and what is no handle, are answered as ever; and what comes behind that in its order.
    feed(server, read_frame(b"salt\0\0\0\1", 200, 9) + read_frame(b"salt\0\0\0\1", 0, 9, 2))
    assert [one[0] for one in replies(drain(server))] == [101, 103]
    feed(server, read_frame(b"salt\0\0\0\\9", 0, 9))
    assert code(replies(drain(server))[0]) == 4
    assert len(places.replies) == 4


def test_without_places_what_is_read_is_copied_and_without_room_it_waits() -> None:
    places = PaperPlaces(whole=False)
    server = reading(places)
    assert answer(server, read_frame(b"salt\0\0\0\1", 0, 9, 7))[:2] == (103, 7)
    places.is_ready = False
    feed(server, read_frame(b"salt\0\0\0\1", 0, 9, 8))
    assert not server.hungry
    assert not server.waiting
    places.is_ready = True
    server.proceed()
    assert server.hungry
    assert replies(drain(server))[0][1] == 8


def test_what_takes_long_is_done_aside_and_answered_before_what_comes_after_it() -> None:
    errands: list[Any] = []
    server = reading(PaperPlaces(whole=False), aside=lambda *errand: errands.append(errand))
    late = framed(messages.FileSync(b"salt\0\0\0\1"), 2) + read_frame(b"salt\0\0\0\1", 0, 9, 3)
    taken(server, late + framed(messages.FileSync(b"nobody's"), 4))
    assert not server.hungry
    assert not server.waiting
    ((work, done),) = errands
    done(*work())
    server.proceed()
    assert [one[:2] for one in replies(drain(server))] == [(101, 2), (103, 3)]
    work, done = errands[1]
    done(*work())
    assert [(one[1], code(one)) for one in replies(drain(server))] == [(4, 4)]
