# SPDX-License-Identifier: MIT
"""One control socket as its master hears it: frames, descriptors, and what is no conversation (section 20)."""

import pytest

from tellin.errors import MalformedPacket, ProtocolError
from tellin.mux import messages
from tellin.mux.messages import (
    ANSWERS,
    Alive,
    AliveCheck,
    Failure,
    Hello,
    MuxMessage,
    NewSession,
    NewStdioForward,
    framed,
    kind_of,
    size_of,
)
from tellin.mux.talk import Asked, MasterTalk

HELLO = framed(Hello(4))
SESSION = NewSession(7, b"", 0, 0, 0, 0, messages.NO_ESCAPE, b"xterm", b"true", (b"A=1", b"B="))


def greeted() -> MasterTalk:
    talk = MasterTalk()
    talk.received(HELLO)
    assert talk.next() is None
    talk.unsent.clear()
    return talk


def said(talk: MasterTalk) -> list[MuxMessage]:
    """The answers so far."""
    data, made = bytes(talk.unsent), []
    while data:
        frame = data[4 : 4 + size_of(data)]
        data = data[4 + len(frame) :]
        made.append(ANSWERS[kind_of(frame)].decode(frame))
    return made


def everything(talk: MasterTalk) -> list[Asked]:
    return list(iter(talk.next, None))


def test_the_bytes_are_those_of_the_protocols_document() -> None:
    assert bytes.fromhex("00000008 00000001 00000004") == HELLO
    assert framed(AliveCheck(1)) == bytes.fromhex("00000008 10000004 00000001")
    assert framed(Alive(1, 4711)) == bytes.fromhex("0000000c 80000005 00000001 00001267")
    assert framed(SESSION) == bytes.fromhex(
        "0000003e 10000002 00000007 00000000 00000000 00000000 00000000 00000000 ffffffff"
        "00000005 787465726d 00000004 74727565 00000003 413d31 00000002 423d"
    )


def test_a_master_greets_first_and_hears_one_request_after_the_other() -> None:
    talk = MasterTalk()
    assert said(talk) == [Hello(4)]
    for byte in HELLO + framed(AliveCheck(1)) + framed(AliveCheck(2)):
        talk.received(bytes((byte,)))
    assert talk.next() == Asked(AliveCheck(1))
    assert talk.next() == Asked(AliveCheck(2))
    assert talk.next() is None


def test_extensions_of_a_hello_are_passed_over() -> None:
    talk = MasterTalk()
    talk.received(framed(Hello(4, (b"name@example.org", b"value"))) + framed(AliveCheck(0)))
    assert talk.next() == Asked(AliveCheck(0))


@pytest.mark.parametrize(
    "data",
    [
        framed(AliveCheck(1)),
        framed(Hello(3)),
        framed(Hello(5)),
        framed(Hello(4, (b"a name without a value",))),
        HELLO + HELLO,
        b"\0\0\0\x04\0\0\0\x01",
    ],
    ids=["none", "version 3", "version 5", "half an extension", "twice", "without a version"],
)
def test_case_331_without_the_one_hello_there_is_no_conversation(data: bytes) -> None:
    talk = MasterTalk()
    talk.received(data)
    with pytest.raises((ProtocolError, MalformedPacket)):
        everything(talk)


@pytest.mark.parametrize("size", [0, 3, 256 * 1024 + 1, 0xFFFFFFFF])
def test_a_length_that_cannot_be_is_no_reason_to_wait(size: int) -> None:
    talk = greeted()
    talk.received(size.to_bytes(4, "big"))
    with pytest.raises(MalformedPacket):
        talk.next()


def test_more_than_4096_variables_are_not_kept() -> None:
    talk = greeted()
    many = NewSession(0, b"", 0, 0, 0, 0, 0, b"", b"", (b"A=",) * 4097)
    talk.received(framed(many))
    with pytest.raises(MalformedPacket):
        talk.next()


def test_descriptors_come_behind_their_request_each_with_a_byte() -> None:
    talk = greeted()
    talk.received(framed(SESSION) + b"\0", [10])
    assert talk.next() is None
    talk.received(b"\0", [11])
    assert talk.next() is None
    talk.received(b"\0", [12])
    talk.received(framed(AliveCheck(8)))
    assert talk.next() == Asked(SESSION, (10, 11, 12))
    assert talk.next() == Asked(AliveCheck(8))
    assert talk.left == ()
    forward = NewStdioForward(9, b"", b"host", 80)
    talk.received(framed(forward))
    talk.received(b"\0", [13])
    talk.received(b"\0", [14])
    assert talk.next() == Asked(forward, (13, 14))


def test_case_333_a_session_without_descriptors_fails_and_none_is_left_open() -> None:
    talk = greeted()
    talk.received(framed(SESSION) + framed(AliveCheck(8)))
    with pytest.raises(ProtocolError):
        talk.next()
    assert said(talk) == [Failure(7, b"did not receive file descriptors")]
    assert talk.left == ()


def test_case_333_one_descriptor_is_not_three() -> None:
    talk = greeted()
    talk.received(framed(SESSION) + b"\0", [10])
    talk.received(b"\0\0")
    with pytest.raises(ProtocolError):
        talk.next()
    assert said(talk) == [Failure(7, b"did not receive file descriptors")]
    assert talk.left == (10,)


def test_case_333_three_descriptors_with_one_byte_are_not_one_each() -> None:
    talk = greeted()
    talk.received(framed(SESSION))
    talk.received(b"\0", [10, 11, 12])
    with pytest.raises(ProtocolError):
        talk.next()
    assert sorted(talk.left) == [10, 11, 12]


def test_case_333_a_fourth_descriptor_belongs_to_no_request() -> None:
    talk = greeted()
    talk.received(framed(SESSION))
    for number in (10, 11, 12, 13):
        talk.received(b"\0", [number])
    assert talk.next() == Asked(SESSION, (10, 11, 12))
    # The byte that it came with begins no frame of any length that can be.
    talk.received(framed(AliveCheck(8)))
    with pytest.raises((ProtocolError, MalformedPacket)):
        everything(talk)
    assert talk.left == (13,)


def test_case_333_descriptors_are_not_kept_for_the_next_session() -> None:
    talk = greeted()
    talk.received(framed(AliveCheck(1)), [10])
    with pytest.raises(ProtocolError):
        talk.next()
    assert talk.left == (10,)


def test_case_334_a_request_nobody_knows_fails_and_the_next_is_heard() -> None:
    talk = greeted()
    talk.received(b"\0\0\0\x0b\x10\0\0\x03\0\0\0\x05abc" + framed(AliveCheck(5)))
    assert talk.next() == Asked(AliveCheck(5))
    assert said(talk) == [Failure(5, b"unsupported request")]


def test_case_334_the_same_request_id_twice_is_answered_twice() -> None:
    talk = greeted()
    talk.received(framed(AliveCheck(1)) * 2)
    assert everything(talk) == [Asked(AliveCheck(1))] * 2


def test_behind_a_proxy_request_there_are_no_more_messages() -> None:
    talk = greeted()
    talk.received(framed(messages.Proxy(1)) + b"packets")
    assert talk.next() == Asked(messages.Proxy(1))
    assert talk.become_proxy() == b"packets"
    assert talk.next() is None
