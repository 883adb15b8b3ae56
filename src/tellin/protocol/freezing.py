# SPDX-License-Identifier: MIT
"""A connection as data: taken out of one process and put into another between two packets.

The frozen form holds session keys in clear: it goes over a socket pair to a process that is to
have the connection, and nowhere else. Cryptographic contexts are rebuilt from it. Nothing in it
is believed: the process that thaws checks every field, since whoever froze it may be the one that
faced the network (R205).
"""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from typing import Final

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.compression import COMPRESSIONS
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.connection.channel import SLACK_PACKETS, Channel, Half, Standing
from tellin.connection.machine import LARGEST_DATA, LEAST_PACKET, WINDOW_LIMIT, Connection
from tellin.connection.windows import TELL_PART
from tellin.errors import MalformedPacket, UsageError
from tellin.transport.keying import DirectionKeys, Stage
from tellin.transport.machine import Phase, Transport
from tellin.transport.negotiation import Direction, Negotiated
from tellin.transport.packets import MAXIMUM_PACKET
from tellin.transport.version import Role
from tellin.wire import (
    Boolean,
    Byte,
    Cursor,
    Message,
    String,
    Text,
    UInt32,
    UInt64,
    string,
)

FORMAT: Final = 1
NO_LENGTH: Final = 0xFFFFFFFF
MICROSECONDS: Final = 1_000_000


class FrozenDirection(Message, secret=("key", "iv", "mac_key")):
    """One direction: names, keys, the present IV, and how far it has come."""

    cipher: Text
    mac: Text
    compression: Text
    key: String
    iv: String
    mac_key: String
    sequence: UInt32
    packets: UInt64
    bytes: UInt64


class FrozenChannel(Message):
    """One open channel; its ends are attached again by the driver."""

    ours: UInt32
    peer: UInt32
    channel_type: Text
    sending: Byte
    receiving: Byte
    send_window: UInt32
    send_packet: UInt32
    receive_window: UInt64
    receive_packet: UInt32
    target: UInt64
    credit: UInt64


class FrozenTransport(Message, secret=("incoming", "outgoing")):
    """All of a connection but its channels and what a role adds."""

    version: Byte
    server: Boolean
    open: Boolean
    client_identification: String
    server_identification: String
    session_id: String
    host_key: String
    host_key_signature: String
    key_exchange: Text
    host_key_algorithm: Text
    strict: Boolean
    peer_takes_extensions: Boolean
    ext_info_count: Byte
    ext_info_place: Boolean
    no_more_sessions: Boolean
    next_channel: UInt32
    round_trip: UInt64
    rekey_in: UInt64
    begun: UInt32
    incoming: String
    outgoing: String


_HALVES: Final = tuple(Half)


def freeze(transport: Transport, connection: Connection, own: bytes) -> bytes:
    """The connection as bytes; ``own`` is what the role adds. The frozen core must not be used again.

    Raises UsageError while an exchange runs, once compression has begun, or while replies are due.
    A stream of zlib goes on from what it has seen so far, up to 32 KiB each way, and zlib gives that
    to nobody: whoever wants to freeze a connection after the login negotiates no compression.
    """
    keying = transport.keying
    reader, writer = transport.reader, transport.writer
    resting = transport.phase in {Phase.AUTHENTICATION, Phase.OPEN}
    if (
        keying.stage is not Stage.IDLE
        or not resting
        or transport.pending() != len(transport.outgoing)
    ):
        raise UsageError(
            "a connection cannot be frozen during a key exchange", hint="freeze after ExchangeDone"
        )
    if reader.decompressor is not None or writer.compressor is not None:
        raise UsageError(
            "a connection cannot be frozen once compression has begun",
            hint="offer no compression but none (Compression no), or freeze before the login is granted",
        )
    if not connection.settled():
        raise UsageError(
            "a connection cannot be frozen while requests are unanswered",
            hint="answer the peer's requests and give its data to sinks first",
        )
    chosen, sending, receiving = keying.negotiated, keying.sending, keying.receiving
    assert chosen is not None
    assert sending is not None
    assert receiving is not None
    begun = reader.begun()
    head = FrozenTransport(
        FORMAT,
        transport.role is Role.SERVER,
        transport.phase is Phase.OPEN,
        *keying.identifications,
        keying.session_id,
        keying.host_key,
        keying.host_key_signature,
        chosen.key_exchange,
        chosen.host_key,
        keying.strict,
        keying.peer_takes_extensions,
        *transport.ext_info_state(),
        *connection.opening_state(),
        int((transport.round_trip or 0.0) * MICROSECONDS),
        int(transport.renewal.remaining(transport.now) * MICROSECONDS),
        NO_LENGTH if begun < 0 else begun,
        bytes(transport.incoming.data[transport.incoming.at : transport.incoming.end]),
        b"".join(transport.outgoing.views()),
    )
    directions = (
        _freeze_direction(keys, iv, end.sequence, end.packets, end.bytes)
        for keys, iv, end in (
            (sending, writer.sealer.current_iv(), writer),
            (receiving, reader.opener.current_iv(), reader),
        )
    )
    extensions = b"".join(
        string(name.encode()) + string(value) for name, value in transport.extensions.items()
    )
    channels = b"".join(
        string(_freeze_channel(channel).encode()) for channel in connection.channels.values()
    )
    return b"".join(map(string, (head.encode(), *directions, extensions, channels, own)))


def _freeze_direction(
    keys: DirectionKeys, iv: bytes, sequence: int, packets: int, count: int
) -> bytes:
    direction = keys.direction
    return FrozenDirection(
        direction.cipher,
        direction.mac,
        direction.compression,
        keys.key,
        iv,
        keys.mac_key,
        sequence,
        packets,
        count,
    ).encode()


def _freeze_channel(channel: Channel) -> FrozenChannel:
    if channel.standing is not Standing.OPEN:
        raise UsageError("a connection cannot be frozen while a channel is being opened")
    return FrozenChannel(
        channel.number,
        channel.peer,
        channel.channel_type,
        _HALVES.index(channel.sending),
        _HALVES.index(channel.receiving),
        channel.send_window,
        channel.send_packet,
        max(0, channel.receive_window),
        channel.receive_packet,
        channel.target,
        channel.credit,
    )


def thaw(data: bytes, transport: Transport, connection: Connection) -> bytes:
    """Fill a fresh transport and connection from ``data``; returns what the role had added.

    Raises MalformedPacket for anything that no connection of ours can have been.
    """
    cursor = Cursor(data)
    head = FrozenTransport.decode(cursor.string())
    outgoing = FrozenDirection.decode(cursor.string())
    incoming = FrozenDirection.decode(cursor.string())
    extensions = Cursor(cursor.string())
    channels = Cursor(cursor.string())
    own = cursor.string()
    cursor.end("a frozen connection")
    if head.version != FORMAT or head.server is not (transport.role is Role.SERVER):
        raise MalformedPacket("a frozen connection of another version or role")
    _check_names(head, outgoing, incoming)
    if head.begun != NO_LENGTH and head.begun > MAXIMUM_PACKET:
        raise MalformedPacket("a frozen packet that is too long")
    while extensions.remaining():
        name = extensions.text()
        transport.extensions[name] = extensions.string()
    _thaw_keys(head, outgoing, incoming, transport)
    transport.thawed(
        Phase.OPEN if head.open else Phase.AUTHENTICATION,
        (head.ext_info_count, head.ext_info_place),
        head.round_trip / MICROSECONDS or None,
        head.rekey_in / MICROSECONDS,
    )
    connection.resume_opening(head.no_more_sessions, head.next_channel)
    transport.incoming.append(head.incoming)
    transport.outgoing.append(head.outgoing)
    while channels.remaining():
        _thaw_channel(FrozenChannel.decode(channels.string()), connection)
    return own


def _check_names(
    head: FrozenTransport, outgoing: FrozenDirection, incoming: FrozenDirection
) -> None:
    for direction in (outgoing, incoming):
        mac = direction.mac
        if (
            direction.cipher not in CIPHERS
            or (mac and mac not in MACS)
            or direction.compression not in COMPRESSIONS
            or bool(mac) is bool(CIPHERS[direction.cipher].tag_size)
        ):
            raise MalformedPacket("a frozen connection with unknown algorithms")
        cipher = CIPHERS[direction.cipher]
        mac_size = MACS[mac].key_size if mac else 0
        if (len(direction.key), len(direction.iv), len(direction.mac_key)) != (
            cipher.key_size,
            cipher.iv_size,
            mac_size,
        ):
            raise MalformedPacket("a frozen connection with keys of a wrong size")
    if head.key_exchange not in KEY_EXCHANGES or not head.session_id:
        raise MalformedPacket("a frozen connection that never exchanged keys")


def _thaw_keys(
    head: FrozenTransport,
    outgoing: FrozenDirection,
    incoming: FrozenDirection,
    transport: Transport,
) -> None:
    keying = transport.keying
    sent, received = (
        Direction(way.cipher, way.mac, way.compression) for way in (outgoing, incoming)
    )
    keying.identifications = (head.client_identification, head.server_identification)
    theirs = head.client_identification if head.server else head.server_identification
    transport.peer_identification = theirs.decode("ascii", "replace")
    keying.session_id = head.session_id
    keying.host_key = head.host_key
    keying.host_key_signature = head.host_key_signature
    keying.strict = head.strict
    keying.peer_takes_extensions = head.peer_takes_extensions
    keying.negotiated = Negotiated(
        head.key_exchange,
        head.host_key_algorithm,
        received if head.server else sent,
        sent if head.server else received,
        guess_right=False,
    )
    keying.sending = DirectionKeys(sent, outgoing.key, outgoing.iv, outgoing.mac_key)
    keying.receiving = DirectionKeys(received, incoming.key, incoming.iv, incoming.mac_key)
    for end, frozen in ((transport.writer, outgoing), (transport.reader, incoming)):
        end.sequence = frozen.sequence
        end.packets = frozen.packets
        end.bytes = frozen.bytes
    transport.writer.sealer = keying.sending.sealer()
    transport.reader.opener = keying.receiving.opener()
    transport.reader.resume(-1 if head.begun == NO_LENGTH else head.begun)


def _thaw_channel(frozen: FrozenChannel, connection: Connection) -> None:
    if (
        frozen.sending >= len(_HALVES)
        or frozen.receiving >= len(_HALVES)
        or not LEAST_PACKET <= frozen.send_packet <= LARGEST_DATA
        or not LEAST_PACKET <= frozen.receive_packet <= LARGEST_DATA
        or frozen.receive_window > frozen.target
        or frozen.credit > frozen.target + SLACK_PACKETS * LARGEST_DATA
        or frozen.target > WINDOW_LIMIT
    ):
        raise MalformedPacket("a frozen channel that cannot be one of ours")
    channel = Channel(connection, frozen.ours, frozen.channel_type, Standing.OPEN)
    channel.peer = frozen.peer
    channel.sending = _HALVES[frozen.sending]
    channel.receiving = _HALVES[frozen.receiving]
    channel.send_window = frozen.send_window
    channel.send_packet = frozen.send_packet
    channel.receive_window = frozen.receive_window
    channel.receive_packet = frozen.receive_packet
    channel.target = frozen.target
    channel.threshold = frozen.target // TELL_PART
    channel.credit = frozen.credit
    connection.adopt(channel)
