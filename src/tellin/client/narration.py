# SPDX-License-Identifier: MIT
"""What -v tells: the core's events in the words that people and scripts look for."""

from collections.abc import Callable
from typing import Any, Final

from tellin.algorithms.key_exchange import KEY_EXCHANGES, Family
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import (
    AuthenticationReady,
    ChannelClosed,
    ChannelIdle,
    ChannelOpened,
    DebugReceived,
    ExtensionsReceived,
    GlobalRequested,
    HostKeyOffered,
    Identified,
    KexInitReceived,
    KexInitSent,
    NewKeysReceived,
    NewKeysSent,
    PublicValueKnown,
)
from tellin.runtime.journal import Journal
from tellin.transport.exchange import GEX_MAXIMUM, GEX_MINIMUM, GEX_PREFERRED
from tellin.transport.messages import KexInit
from tellin.transport.negotiation import Direction

_PROPOSED: Final = (
    ("KEX algorithms", "kex_algorithms"),
    ("host key algorithms", "server_host_key_algorithms"),
    ("ciphers ctos", "encryption_client_to_server"),
    ("ciphers stoc", "encryption_server_to_client"),
    ("MACs ctos", "mac_client_to_server"),
    ("MACs stoc", "mac_server_to_client"),
    ("compression ctos", "compression_client_to_server"),
    ("compression stoc", "compression_server_to_client"),
)
_REPLIES: Final = {
    Family.ECDH: "SSH2_MSG_KEX_ECDH_REPLY",
    Family.DH: "SSH2_MSG_KEXDH_REPLY",
    Family.GEX: "SSH2_MSG_KEX_DH_GEX_REPLY",
}


class Narrator:
    """Tells one connection's story; called only when somebody listens."""

    def __init__(self, journal: Journal, core: ClientProtocol) -> None:
        self._journal = journal
        self._core = core
        self._reply = ""
        self._group_due = False

    def begin(self, identification: str) -> None:
        """The first line goes out."""
        self._journal.debug(f"Local version string {identification}")

    def tell(self, event: Any) -> None:
        """Tell of an event, if there are words for it."""
        words = _WORDS.get(type(event))
        if words is not None:
            words(self, event)

    def _identified(self, event: Identified) -> None:
        journal = self._journal
        for line in event.lines:
            shown = line.decode("utf-8", "replace")
            journal.debug(f"kex_exchange_identification: banner line: {shown}")
        _, version, software = [*event.identification.split("-", 2), "", ""][:3]
        journal.debug(f"Remote protocol version {version}, remote software version {software}")

    def _offered(self, event: KexInitSent) -> None:
        self._journal.debug("SSH2_MSG_KEXINIT sent")

    def _negotiated(self, event: KexInitReceived) -> None:
        journal, chosen = self._journal, event.negotiated
        journal.debug("SSH2_MSG_KEXINIT received")
        self._proposal("local client", event.ours)
        self._proposal("peer server", event.theirs)
        journal.debug(f"kex: algorithm: {chosen.key_exchange}")
        journal.debug(f"kex: host key algorithm: {chosen.host_key}")
        journal.debug(f"kex: server->client {_shown(chosen.server_to_client)}")
        journal.debug(f"kex: client->server {_shown(chosen.client_to_server)}")
        family = KEY_EXCHANGES[chosen.key_exchange].family
        self._reply = _REPLIES[family]
        self._group_due = family is Family.GEX
        if self._group_due:
            sizes = f"{GEX_MINIMUM}<{GEX_PREFERRED}<{GEX_MAXIMUM}"
            journal.debug(f"SSH2_MSG_KEX_DH_GEX_REQUEST({sizes}) sent")
            journal.debug("expecting SSH2_MSG_KEX_DH_GEX_GROUP")
        else:
            journal.debug(f"expecting {self._reply}")

    def _value(self, event: PublicValueKnown) -> None:
        journal = self._journal
        bits = f"bits set: {event.bits_set}/{event.bits}"
        if self._group_due:
            # Our value in the server's group: the reply is what comes now.
            self._group_due = False
            journal.debug("SSH2_MSG_KEX_DH_GEX_GROUP received")
            journal.debug2(bits)
            journal.debug("SSH2_MSG_KEX_DH_GEX_INIT sent")
            journal.debug(f"expecting {self._reply}")
        else:
            journal.debug2(bits)

    def _proposal(self, whose: str, offer: KexInit) -> None:
        self._journal.debug2(f"{whose} KEXINIT proposal")
        for title, field in _PROPOSED:
            self._journal.debug2(f"{title}: {','.join(getattr(offer, field))}")
        self._journal.debug2(f"first_kex_follows {int(offer.first_kex_packet_follows)}")

    def _host_key(self, event: HostKeyOffered) -> None:
        self._journal.debug(f"{self._reply} received")

    def _sent_keys(self, event: NewKeysSent) -> None:
        self._journal.debug("SSH2_MSG_NEWKEYS sent")
        self._journal.debug("expecting SSH2_MSG_NEWKEYS")

    def _received_keys(self, event: NewKeysReceived) -> None:
        self._journal.debug("SSH2_MSG_NEWKEYS received")

    def _extensions(self, event: ExtensionsReceived) -> None:
        self._journal.debug("SSH2_MSG_EXT_INFO received")
        for name, value in event.extensions.items():
            shown = value.decode("ascii", "replace")
            self._journal.debug(f"kex_input_ext_info: {name}=<{shown}>")

    def _asked(self, event: GlobalRequested) -> None:
        self._journal.debug(
            f"client_input_global_request: rtype {event.name} want_reply {int(event.want_reply)}"
        )

    def _ready(self, event: AuthenticationReady) -> None:
        self._journal.debug("SSH2_MSG_SERVICE_ACCEPT received")

    def _debugged(self, event: DebugReceived) -> None:
        text = event.text.decode("utf-8", "replace")
        self._journal.debug(f"Remote: {text}")

    def _opened(self, event: ChannelOpened) -> None:
        channel = event.channel
        self._journal.debug2(
            f"channel {channel.number}: open confirm rwindow {channel.send_window}"
            f" rmax {channel.send_packet}"
        )

    def _closed(self, event: ChannelClosed) -> None:
        channel = event.channel
        kind = f"client-{channel.channel_type}"
        left = len(self._core.channels) + 1
        self._journal.debug(f"channel {channel.number}: free: {kind}, nchannels {left}")

    def _idle(self, event: ChannelIdle) -> None:
        said = f"closing after {event.seconds:g} seconds of inactivity"
        self._journal.verbose(f"channel {event.channel.number}: {said}")


def _shown(direction: Direction) -> str:
    return (
        f"cipher: {direction.cipher} MAC: {direction.mac or '<implicit>'}"
        f" compression: {direction.compression}"
    )


_WORDS: Final[dict[type, Callable[[Narrator, Any], None]]] = {
    Identified: Narrator._identified,
    KexInitSent: Narrator._offered,
    KexInitReceived: Narrator._negotiated,
    PublicValueKnown: Narrator._value,
    GlobalRequested: Narrator._asked,
    HostKeyOffered: Narrator._host_key,
    NewKeysSent: Narrator._sent_keys,
    NewKeysReceived: Narrator._received_keys,
    ExtensionsReceived: Narrator._extensions,
    AuthenticationReady: Narrator._ready,
    DebugReceived: Narrator._debugged,
    ChannelOpened: Narrator._opened,
    ChannelClosed: Narrator._closed,
    ChannelIdle: Narrator._idle,
}
