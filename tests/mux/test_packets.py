# SPDX-License-Identifier: MIT
"""The framing of a proxy's socket."""

import pytest

from tellin.connection.messages import ChannelClose, GlobalRequest, RequestFailure
from tellin.errors import MalformedPacket
from tellin.mux.packets import Packets, packet

MESSAGES = [RequestFailure(), ChannelClose(7), GlobalRequest("keepalive@openssh.com", True, b"")]


def test_what_is_sent_is_read_in_whatever_pieces_and_never_shorter_than_openssh_takes() -> None:
    data = b"".join(map(packet, MESSAGES))
    for size in (1, 3, len(data)):
        packets = Packets()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [one for piece in pieces for one in packets.feed(piece)] == [
            one.encode() for one in MESSAGES
        ]
    assert packet(RequestFailure()) == b"\0\0\0\5\3\x52\0\0\0"


@pytest.mark.parametrize("data", [b"\0\0\0\2\1\0", b"\0\0\0\3\xff\x52\0"])
def test_a_packet_of_padding_alone_is_none(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        list(Packets().feed(data))
