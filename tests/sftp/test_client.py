# SPDX-License-Identifier: MIT

import struct
from collections.abc import Callable
from typing import Any

import pytest
from tests.sftp.paper_files import PaperFiles, Talk

from tellin.errors import (
    ConnectionLost,
    MalformedPacket,
    ProtocolError,
    RemoteFileNotFound,
    SftpError,
    TellinError,
    UsageError,
)
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.client import SftpClient
from tellin.sftp.links import sends_link_first, takes_target_first
from tellin.sftp.messages import (
    Attrs,
    Data,
    Entry,
    Handle,
    Name,
    Open,
    ReadDirectory,
    RealPath,
    Stat,
    Status,
    Version,
    framed,
)
from tellin.wire import Message, string


class Bare:
    """A client whose server is the test."""

    def __init__(self, *, extensions: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.answers: list[tuple[Any, TellinError | None]] = []
        self.greetings = 0
        self.client = SftpClient(on_version=self._greeted)
        self.client.begin()
        assert b"".join(self.client.take()) == struct.pack(">IBI", 5, 1, 3)
        self.raw(greeting(Version(3, extensions)))
        assert self.greetings == 1

    def _greeted(self) -> None:
        self.greetings += 1

    def settle(self, value: Any, error: TellinError | None) -> None:
        self.answers.append((value, error))

    def raw(self, data: bytes) -> None:
        self.client.received([memoryview(data)])

    def say(self, message: Message, request_id: int = 0) -> None:
        self.raw(framed(message, request_id))

    def read(self, length: int = 10) -> bytearray:
        data = bytearray()

        def take(view: memoryview, position: int) -> None:
            data[position : position + len(view)] = view

        self.client.fetch(b"h", 0, length, take, self.settle)
        return data


def greeting(version: Version) -> bytes:
    return string(version.encode())


def test_requests_are_in_flight_together_and_replies_find_their_own() -> None:
    bare = Bare()
    for name in (b"a", b"b", b"c"):
        bare.client.ask(Stat(name), bare.settle)
    assert bare.client.in_flight == 3
    for request_id in (2, 0, 1):
        bare.say(Attrs(Attributes(size=request_id)), request_id)
    assert [value.attributes.size for value, _ in bare.answers] == [2, 0, 1]
    assert bare.client.in_flight == 0


def test_what_is_written_is_sent_from_where_it_lies() -> None:
    bare = Bare()
    data = memoryview(b"x" * 100)
    bare.client.write(b"h", 5, data, bare.settle)
    head, sent = bare.client.take()
    assert sent is data
    assert head == struct.pack(">IBI", 122, 6, 0) + string(b"h") + struct.pack(">QI", 5, 100)


def test_what_is_read_is_handed_on_in_the_views_in_which_it_came() -> None:
    bare = Bare()
    seen: list[tuple[memoryview, int]] = []
    bare.client.fetch(b"h", 0, 10, lambda view, at: seen.append((view, at)), bare.settle)
    frame = memoryview(framed(Data(b"0123456789"), 0))
    first, second = frame[:15], frame[15:]
    bare.client.received([first, second])
    assert [(bytes(view), at) for view, at in seen] == [(b"01", 0), (b"23456789", 2)]
    assert all(view.obj is frame.obj for view, _ in seen)
    assert bare.answers == [(10, None)]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100])
def test_case_255_replies_cut_anywhere_and_out_of_order_come_to_the_same(piece: int) -> None:
    bare = Bare()
    pieces = [bare.read(), bare.read()]
    bare.client.ask(Stat(b"a"), bare.settle)
    data = framed(Data(b"B" * 9), 1) + framed(Attrs(Attributes(size=5)), 2)
    data += framed(Data(b"A" * 10), 0)
    for at in range(0, len(data), piece):
        bare.raw(data[at : at + piece])
    assert pieces == [b"A" * 10, b"B" * 9]
    assert [value for value, _ in bare.answers] == [9, Attrs(Attributes(size=5)), 10]


def test_the_end_of_a_file_and_of_a_directory_are_answers_and_no_errors() -> None:
    bare = Bare()
    assert bare.read() == b""
    bare.client.ask(ReadDirectory(b"h"), bare.settle)
    bare.client.ask(Stat(b"a"), bare.settle)
    for request_id in range(3):
        bare.say(Status(1, b"", b""), request_id)
    assert bare.answers[:2] == [(0, None), (Name(()), None)]
    assert isinstance(bare.answers[2][1], SftpError)


def test_a_refusal_says_what_it_was_about() -> None:
    bare = Bare()
    bare.client.ask(Open(b"/x", 1, Attributes()), bare.settle, path=b"/x")
    bare.say(Status(2, b"No such file", b""), 0)
    ((_, error),) = bare.answers
    assert isinstance(error, RemoteFileNotFound)
    assert str(error) == "open /x: No such file"
    assert error.filename == "/x"


def test_a_status_without_texts_is_one_too() -> None:
    bare = Bare()
    bare.client.ask(messages.Remove(b"/x"), bare.settle)
    bare.raw(struct.pack(">IBII", 9, 101, 0, 0))
    assert bare.answers[0][1] is None


BROKEN: list[Any] = [
    pytest.param(lambda bare: bare.say(Attrs(Attributes()), 9), id="case 250: an unknown id"),
    pytest.param(
        lambda bare: (bare.say(Attrs(Attributes()), 0), bare.say(Attrs(Attributes()), 0)),
        id="R182: answered twice",
    ),
    pytest.param(lambda bare: bare.say(Handle(b"h"), 0), id="case 250: another type"),
    pytest.param(lambda bare: bare.say(Data(b"h"), 0), id="case 250: data for no READ"),
    pytest.param(lambda bare: bare.raw(struct.pack(">IBI", 5, 150, 0)), id="an unknown type"),
    pytest.param(lambda bare: bare.say(Status(0, b"", b""), 0), id="case 254: OK for a STAT"),
    pytest.param(lambda bare: bare.say(Status(0, b"", b""), 1), id="case 254: OK for a READ"),
    pytest.param(lambda bare: bare.say(Data(b"x" * 11), 1), id="case 254: more than asked for"),
    pytest.param(
        lambda bare: (bare.say(Data(b"x"), 1), bare.say(Data(b"x"), 1)), id="case 255: twice"
    ),
    pytest.param(
        lambda bare: bare.raw(struct.pack(">IBII", 10, 103, 1, 5) + b"x"),
        id="DATA that is shorter than it says",
    ),
    pytest.param(
        lambda bare: bare.raw(struct.pack(">IBI", 5, 103, 1) + bytes(4)), id="DATA without data"
    ),
    pytest.param(lambda bare: bare.raw(bytes(9)), id="a length of 0"),
    pytest.param(lambda bare: bare.raw(b"\xff" * 9), id="a length of 4 GiB"),
    pytest.param(
        lambda bare: bare.raw((262145).to_bytes(4, "big") + bytes(5)), id="beyond 256 KiB"
    ),
    pytest.param(
        lambda bare: bare.raw(struct.pack(">IBI", 6, 105, 0) + b"\0"), id="attributes cut short"
    ),
    pytest.param(lambda bare: bare.say(Name(()), 2), id="R183 case 251: REALPATH with no name"),
    pytest.param(
        lambda bare: bare.say(Name((Entry(b"", b"", Attributes()),) * 2), 2),
        id="R183 case 251: REALPATH with two names",
    ),
    pytest.param(
        lambda bare: bare.raw(struct.pack(">IBII", 9, 104, 2, 0xFFFFFFFF)),
        id="case 251: 2^32-1 names",
    ),
    pytest.param(lambda bare: bare.raw(greeting(Version(3, ()))), id="a second VERSION"),
]


@pytest.mark.parametrize("spoil", BROKEN)
def test_a_server_that_breaks_the_protocol_is_given_up(spoil: Callable[[Bare], object]) -> None:
    bare = Bare()
    bare.client.ask(Stat(b"a"), bare.settle)
    bare.read()
    bare.client.ask(RealPath(b"."), bare.settle)
    with pytest.raises(ProtocolError) as caught:
        spoil(bare)
    before = len(bare.answers)
    bare.client.lost(caught.value)
    # Everybody hears exactly once.
    assert len(bare.answers) == 3
    assert all(error is caught.value for _, error in bare.answers[before:])
    assert bare.client.in_flight == 0
    # From now on nothing is taken and nothing asked.
    bare.raw(framed(Attrs(Attributes()), 0))
    with pytest.raises(ProtocolError):
        bare.client.ask(Stat(b"a"), bare.settle)


def test_a_read_that_is_half_there_is_told_of_the_end() -> None:
    bare = Bare()
    bare.read()
    bare.raw(framed(Data(b"0123456789"), 0)[:16])
    lost = ConnectionLost("gone")
    bare.client.lost(lost)
    bare.client.lost(ConnectionLost("again"))
    assert bare.answers == [(None, lost)]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(greeting(Version(2, ())), id="case 249: version 2"),
        pytest.param(greeting(Version(4, ())), id="a version that nobody asked for"),
        pytest.param(framed(Status(0, b"", b""), 0), id="case 249: no VERSION"),
        pytest.param(b"This service allows sftp connections only.\n", id="case 249: a text"),
        pytest.param(greeting(Version(3, ((b"a", b"b"),) * 1000)), id="1,000 extensions"),
        pytest.param(string(b"\2\0\0\0\3\0\0"), id="a VERSION cut short"),
    ],
)
def test_case_249_what_does_not_begin_with_version_3_is_no_file_server(first: bytes) -> None:
    client = SftpClient(on_version=lambda: None)
    client.begin()
    with pytest.raises(ProtocolError):
        client.received([memoryview(first)])
    assert not client.ready


def test_an_extension_counts_in_the_version_that_is_known() -> None:
    bare = Bare(
        extensions=(
            (b"statvfs@openssh.com", b"3"),
            (b"posix-rename@openssh.com", b"1"),
            (b"posix-rename@openssh.com", b"9"),
        )
    )
    assert bare.client.offers(messages.PosixRename)
    assert not bare.client.offers(messages.StatFileSystem)
    assert not bare.client.offers(messages.HardLink)


def test_nothing_is_asked_before_the_version_is_known() -> None:
    client = SftpClient(on_version=lambda: None)
    with pytest.raises(UsageError):
        client.ask(Stat(b"a"), lambda value, error: None)


def test_a_write_beyond_what_a_message_holds_is_the_callers_mistake() -> None:
    bare = Bare()
    with pytest.raises(UsageError):
        bare.client.write(b"h", 0, memoryview(bytes(messages.MOST_DATA + 1)), bare.settle)


def test_ids_go_round_and_pass_over_those_that_wait() -> None:
    bare = Bare()
    bare.client.ask(Stat(b"a"), bare.settle)
    bare.client._next_id = 0xFFFFFFFF
    bare.client.ask(Stat(b"b"), bare.settle)
    bare.client.ask(Stat(b"c"), bare.settle)
    ids = [frame[5:9] for frame in map(bytes, bare.client.take())]
    assert ids == [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1"]


@pytest.mark.parametrize(
    ("identification", "target_first"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian", True),
        ("SSH-2.0-paramiko_5.1.0", True),
        ("SSH-2.0-tellin_0.1.0", True),
        ("SSH-2.0-AsyncSSH_2.24.1", False),
        # It runs OpenSSH's.
        ("SSH-2.0-dropbear_2022.83", True),
        ("SSH-2.0-ssh2js1.17.0srv", False),
        ("", False),
    ],
)
def test_the_paths_of_a_link_go_in_the_order_that_the_server_takes(
    identification: str, target_first: bool
) -> None:
    assert takes_target_first(identification) is target_first
    client = SftpClient(identification=identification, on_version=lambda: None)
    client.begin()
    client.received([memoryview(greeting(Version(3, ())))])
    client.take()
    client.symlink(b"target", b"link", lambda value, error: None)
    (frame,) = client.take()
    made = messages.SymbolicLink.decode(bytes(frame)[8:])
    assert (made.first, made.second) == (
        (b"target", b"link") if target_first else (b"link", b"target")
    )


@pytest.mark.parametrize(
    ("identification", "link_first"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian", False),
        ("SSH-2.0-paramiko_5.1.0", False),
        ("SSH-2.0-tellin_0.1.0", False),
        ("SSH-2.0-libssh2_1.11.1", False),
        ("SSH-2.0-AsyncSSH_2.24.1", True),
        ("SSH-2.0-ssh2js1.17.0", True),
        ("SSH-2.0-WinSCP_release_6.5.3", True),
        ("", False),
    ],
)
def test_the_paths_of_a_link_are_taken_in_the_order_that_the_client_has(
    identification: str, link_first: bool
) -> None:
    assert sends_link_first(identification) is link_first


def test_a_malformed_reply_is_malformed_and_no_other_error() -> None:
    bare = Bare()
    bare.client.ask(Stat(b"a"), bare.settle)
    with pytest.raises(MalformedPacket):
        bare.raw(struct.pack(">IBII", 9, 105, 0, 1))


def test_a_file_goes_there_and_back_in_pieces_of_any_size() -> None:
    talk = Talk(PaperFiles(), piece=1)
    handle = talk.handle(Open(b"/f", 27, Attributes()))
    talk.write(handle, 0, b"0123456789" * 20)
    talk.write(handle, 100, b"#" * 5)
    assert talk.read(handle, 95, 15) == b"56789#####56789"
    assert talk.read(handle, 200, 5) == b""
