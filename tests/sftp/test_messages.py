# SPDX-License-Identifier: MIT

import struct

import pytest

from tellin.errors import MalformedPacket, SftpError, UsageError
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes, within_32_bits
from tellin.sftp.messages import Entry, Name, Open, Statistics, Version, framed
from tellin.sftp.status import refusal
from tellin.wire import Cursor, string

EVERY = Attributes(
    size=1 << 40, uid=1, gid=2, permissions=0o100644, atime=3, mtime=4, extended=((b"a", b"b"),)
)


def test_a_request_is_laid_out_as_the_draft_has_it() -> None:
    made = framed(Open(b"/a", 26, Attributes(permissions=0o600)), 7)
    expected = struct.pack(">IBI", 23, 3, 7) + string(b"/a") + struct.pack(">III", 26, 4, 0o600)
    assert made == expected


def test_an_extension_goes_as_an_extended_request_with_its_name() -> None:
    made = framed(messages.FileSync(b"h"), 7)
    body = string(b"fsync@openssh.com") + string(b"h")
    assert made == struct.pack(">IBI", 5 + len(body), 200, 7) + body


@pytest.mark.parametrize(
    "attributes", [EVERY, Attributes(), Attributes(size=0), Attributes(atime=1, mtime=2)]
)
def test_attributes_come_back_as_they_were(attributes: Attributes) -> None:
    assert Attributes.read(Cursor(attributes.encode())) == attributes


def test_attributes_say_what_kind_of_file_it_is() -> None:
    kinds = [(one.is_file, one.is_directory, one.is_link) for one in map(_with, (8, 4, 10))]
    assert kinds == [(True, False, False), (False, True, False), (False, False, True)]
    assert _with(8).mode == 0o644
    assert (Attributes().is_file, Attributes().mode) == (False, None)


def _with(kind: int) -> Attributes:
    return Attributes(permissions=kind << 12 | 0o644)


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes(size=-1),
        Attributes(size=1 << 64),
        Attributes(uid=1),
        Attributes(mtime=1),
        Attributes(atime=1, mtime=1 << 32),
    ],
)
def test_a_number_that_has_no_room_is_an_error_and_never_another_number(
    attributes: Attributes,
) -> None:
    with pytest.raises(UsageError):
        attributes.encode()


def test_times_before_1970_and_after_2106_are_the_nearest_there_are() -> None:
    assert [within_32_bits(one) for one in (-5.0, 1.9, 1e12)] == [0, 1, 0xFFFFFFFF]


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\0\0\0" + b"\xff\xff\xff\xff",
        b"\x80\0\0\0" + b"\0\0\0\2" + string(b"a") + string(b"b"),
        b"\0\0\0\x0f" + bytes(20),
    ],
)
def test_r025_attributes_that_announce_more_than_there_is_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Attributes.read(Cursor(data))


@pytest.mark.parametrize("count", [0xFFFFFFFF, 2])
def test_r183_case_251_a_count_of_names_must_fit_the_bytes(count: int) -> None:
    one = string(b"n") + string(b"l") + bytes(4)
    with pytest.raises(MalformedPacket):
        Name.decode(b"h" + count.to_bytes(4, "big") + one)


def test_r189_a_path_with_a_nul_is_no_path() -> None:
    payload = Open(b"/etc/passwd\0.txt", 1, Attributes()).encode()
    with pytest.raises(MalformedPacket):
        Open.decode(payload)


def test_case_249_a_version_with_a_thousand_extensions_is_refused() -> None:
    some = ((b"name", b"1"),)
    assert Version.decode(Version(3, some * 128).encode()).extensions == some * 128
    with pytest.raises(MalformedPacket):
        Version.decode(Version(3, some * 1000).encode())


def test_a_name_of_odd_bytes_is_text_that_goes_back_to_them() -> None:
    entry = Entry(b"\xff\n name", b"", Attributes())
    assert entry.name.encode("utf-8", "surrogateescape") == entry.filename


def test_statistics_have_eleven_numbers() -> None:
    found = Statistics.decode(struct.pack(">11Q", *range(11)))
    assert (found.block_size, found.longest_name) == (0, 10)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (2, FileNotFoundError),
        (3, PermissionError),
        (11, FileExistsError),
        (4, OSError),
        (8, OSError),
        (77, OSError),
    ],
)
def test_a_refusal_is_the_error_of_the_system_that_fits(status: int, kind: type[OSError]) -> None:
    error = refusal(status, b"said", what="stat", path=b"/a")
    assert isinstance(error, kind)
    assert isinstance(error, SftpError)
    assert (error.status, error.filename, str(error)) == (status, "/a", "stat /a: said")
    assert error.errno


def test_r036_a_servers_words_are_bounded_and_safe_to_show() -> None:
    error = refusal(4, b"\x1b[2J" + b"x" * 5000, what="open", path=b"\x1b\xff\n")
    assert str(error).startswith("open \\033\\377\\012: \\033[2J")
    assert len(str(error)) < 1100
    assert str(refusal(4, b"", what="open", path=None)) == "open: Failure"
    assert str(refusal(44, b"", what="open", path=None)) == "open: status 44"
