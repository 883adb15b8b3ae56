# SPDX-License-Identifier: MIT
"""Messages of the connection protocol (RFC 4254)."""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from tellin.wire import Boolean, Message, Rest, String, Text, UInt32


class GlobalRequest(Message, number=80):
    """Something asked of the connection as a whole (RFC 4254 section 4)."""

    name: Text
    want_reply: Boolean
    data: Rest


class RequestSuccess(Message, number=81):
    """The global request was granted (RFC 4254 section 4)."""

    data: Rest


class RequestFailure(Message, number=82):
    """The global request was refused (RFC 4254 section 4)."""


class ChannelOpen(Message, number=90):
    """A wish to open a channel (RFC 4254 section 5.1)."""

    channel_type: Text
    sender_channel: UInt32
    initial_window: UInt32
    maximum_packet: UInt32
    type_data: Rest


class ChannelOpenConfirmation(Message, number=91):
    """The channel is open (RFC 4254 section 5.1)."""

    recipient_channel: UInt32
    sender_channel: UInt32
    initial_window: UInt32
    maximum_packet: UInt32
    type_data: Rest


class ChannelOpenFailure(Message, number=92):
    """The channel was not opened (RFC 4254 section 5.1)."""

    recipient_channel: UInt32
    reason: UInt32
    description: String
    language: String


class ChannelWindowAdjust(Message, number=93):
    """More bytes may be sent (RFC 4254 section 5.2)."""

    recipient_channel: UInt32
    bytes_to_add: UInt32


class ChannelData(Message, number=94):
    """Data of a channel (RFC 4254 section 5.2); the lane reads and writes it without this class."""

    recipient_channel: UInt32
    data: String


class ChannelExtendedData(Message, number=95):
    """Data of another kind, such as stderr (RFC 4254 section 5.2); also the lane's."""

    recipient_channel: UInt32
    data_type: UInt32
    data: String


class ChannelEof(Message, number=96):
    """The sender will send no more data (RFC 4254 section 5.3)."""

    recipient_channel: UInt32


class ChannelClose(Message, number=97):
    """The sender is done with the channel (RFC 4254 section 5.3)."""

    recipient_channel: UInt32


class ChannelRequest(Message, number=98):
    """Something asked of a channel (RFC 4254 section 5.4)."""

    recipient_channel: UInt32
    name: Text
    want_reply: Boolean
    data: Rest


class ChannelSuccess(Message, number=99):
    """The channel request was granted (RFC 4254 section 5.4)."""

    recipient_channel: UInt32


class ChannelFailure(Message, number=100):
    """The channel request was refused (RFC 4254 section 5.4)."""

    recipient_channel: UInt32
