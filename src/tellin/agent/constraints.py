# SPDX-License-Identifier: MIT
"""What a key in an agent may be used for: how long, with whose consent, and towards which hosts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

from tellin.agent.credentials import read_public
from tellin.algorithms.registry import matches
from tellin.errors import CertificateRejected, KeyFileError, MalformedPacket
from tellin.keys.certificates import Certificate, CertificateRole
from tellin.keys.public import PublicKey
from tellin.wire import Cursor, Record, string

LIFETIME: Final = 1
CONFIRM: Final = 2
EXTENSION: Final = 255
RESTRICT_DESTINATION: Final = "restrict-destination-v00@openssh.com"
SECURITY_KEY_PROVIDER: Final = "sk-provider@openssh.com"
ASSOCIATED_CERTIFICATES: Final = "associated-certs-v00@openssh.com"

# As in OpenSSH. A lifetime beyond is no lifetime (case 267).
MOST_DESTINATIONS: Final = 1024
MOST_HOST_KEYS: Final = 1024
MOST_CERTIFICATES: Final = 1024
LONGEST_LIFETIME: Final = (1 << 31) - 1
_LONGEST_NAME: Final = 1024
_LONGEST_PATH: Final = 4096


class HostKey(Record):
    """A host key, or the key of an authority that signs for hosts."""

    blob: bytes
    is_authority: bool


class Hop(Record):
    """One end of a permitted way: a host with its keys, or, with no name and no keys, where the agent runs."""

    user: str
    host: str
    keys: tuple[HostKey, ...]

    def is_origin(self) -> bool:
        """Whether it is the machine of the agent itself."""
        return not self.host and not self.keys

    def holds(self, key: bytes | None) -> bool:
        """Whether a host that showed ``key`` is this end; None is the origin."""
        if key is None:
            return self.is_origin()
        shown = read_public(key)
        if isinstance(shown, PublicKey):
            return any(not one.is_authority and one.blob == key for one in self.keys)
        authority = shown.authority.blob
        if not any(one.is_authority and one.blob == authority for one in self.keys):
            return False
        # The time was for ssh to judge, which has the clock: here it is only who and for whom.
        try:
            shown.check(CertificateRole.HOST, now=float(shown.valid_after), names=[self.host])
        except CertificateRejected:
            return False
        return True

    def encode(self) -> bytes:
        """As PROTOCOL.agent has it."""
        keys = b"".join(string(one.blob) + bytes((one.is_authority,)) for one in self.keys)
        names = (name.encode("utf-8", "surrogateescape") for name in (self.user, self.host))
        return b"".join(map(string, names)) + string(b"") + keys

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the whole of ``data``."""
        cursor = Cursor(data)
        user, host = _name(cursor), _name(cursor)
        cursor.string()  # reserved
        keys: list[HostKey] = []
        while cursor.remaining():
            if len(keys) == MOST_HOST_KEYS:
                raise MalformedPacket(f"a host with more than {MOST_HOST_KEYS} keys")
            blob = cursor.string()
            try:
                # A key that we could not recognise again would make a constraint nobody enforces.
                PublicKey.from_blob(blob)
            except KeyFileError as error:
                raise MalformedPacket(f"a constraint's host key: {error}") from None
            keys.append(HostKey(blob, cursor.boolean()))
        return cls(user, host, tuple(keys))


def _name(cursor: Cursor) -> str:
    raw = cursor.string()
    # R123: patterns are matched against them later.
    if len(raw) > _LONGEST_NAME or b"\0" in raw:
        raise MalformedPacket("a constraint's name that is too long or holds a NUL")
    return raw.decode("utf-8", "surrogateescape")


class Destination(Record):
    """A permitted way: from a host (or the origin) to a host, perhaps as certain users only."""

    origin: Hop
    target: Hop

    def encode(self) -> bytes:
        """As PROTOCOL.agent has it, without the length around it."""
        return string(self.origin.encode()) + string(self.target.encode()) + string(b"")

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the whole of ``data``; what makes no sense is refused, not ignored (R153)."""
        cursor = Cursor(data)
        made = cls(Hop.read(cursor.string()), Hop.read(cursor.string()))
        cursor.string()  # reserved
        cursor.end("a destination")
        if made.origin.user or bool(made.origin.host) != bool(made.origin.keys):
            raise MalformedPacket("a destination whose origin is incomplete or names a user")
        if not made.target.host or not made.target.keys:
            raise MalformedPacket("a destination without a host or its keys")
        return made

    def permits(self, origin: bytes | None, target: bytes | None, user: str | None) -> bool:
        """Whether a login goes this way; without ``target`` anywhere, without ``user`` as anybody."""
        if not self.origin.holds(origin):
            return False
        if target is not None and not self.target.holds(target):
            return False
        return user is None or not self.target.user or matches(user, self.target.user)


class Constraints(Record):
    """All that was asked for when a key was added; ``lifetime`` in seconds.

    ``provider`` says how the security key is reached that has the key. ``certificates`` come
    beside a PKCS#11 module: its keys are to be known by them too, or with ``certified_only`` by
    nothing else.
    """

    lifetime: int | None = None
    confirm: bool = False
    destinations: tuple[Destination, ...] = ()
    provider: str = ""
    certificates: tuple[Certificate, ...] = ()
    certified_only: bool = False

    def encode(self) -> bytes:
        """As they stand behind a key in AddIdentityConstrained."""
        made = b""
        if self.lifetime is not None:
            made += bytes((LIFETIME,)) + self.lifetime.to_bytes(4, "big")
        if self.confirm:
            made += bytes((CONFIRM,))
        if self.destinations:
            ways = b"".join(string(one.encode()) for one in self.destinations)
            name = string(RESTRICT_DESTINATION.encode())
            made += bytes((EXTENSION,)) + name + string(ways)
        if self.provider:
            name = string(SECURITY_KEY_PROVIDER.encode())
            made += bytes((EXTENSION,)) + name + string(self.provider.encode())
        if self.certificates or self.certified_only:
            name = string(ASSOCIATED_CERTIFICATES.encode())
            blobs = b"".join(string(one.blob) for one in self.certificates)
            made += bytes((EXTENSION,)) + name + bytes((self.certified_only,)) + string(blobs)
        return made

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """Read to the end; MalformedPacket for any that could not be enforced (R153, case 267)."""
        made = cls()
        seen: set[object] = set()
        while cursor.remaining():
            kind = cursor.byte()
            reader = _READERS.get(kind)
            if reader is None:
                raise MalformedPacket(f"a constraint of the unknown type {kind}")
            name = reader(made, cursor)
            if name in seen:
                raise MalformedPacket("a constraint that is given twice")
            seen.add(name)
        return made


def _lifetime(made: Constraints, cursor: Cursor) -> str:
    made.lifetime = cursor.uint32()
    if not 0 < made.lifetime <= LONGEST_LIFETIME:
        raise MalformedPacket(f"a lifetime of {made.lifetime} seconds")
    return "lifetime"


def _confirm(made: Constraints, cursor: Cursor) -> str:
    made.confirm = True
    return "confirm"


def _extension(made: Constraints, cursor: Cursor) -> str:
    name = cursor.string().decode("ascii", "replace")
    reader = _EXTENSIONS.get(name)
    if reader is None:
        raise MalformedPacket(f"the unknown constraint {name[:64]!r}")
    reader(made, cursor)
    return name


def _destinations(made: Constraints, cursor: Cursor) -> None:
    inner = Cursor(cursor.string())
    found: list[Destination] = []
    while inner.remaining():
        if len(found) == MOST_DESTINATIONS:
            raise MalformedPacket(f"more than {MOST_DESTINATIONS} destinations")
        found.append(Destination.read(inner.string()))
    if not found:
        # Taken for "no destination" it would be no constraint at all.
        raise MalformedPacket("a list of destinations that is empty")
    made.destinations = tuple(found)


def _provider(made: Constraints, cursor: Cursor) -> None:
    made.provider = cursor.text()
    # It will be the name of a file: as long as one can be (PATH_MAX).
    if not made.provider or "\0" in made.provider or len(made.provider) > _LONGEST_PATH:
        raise MalformedPacket("a provider of security keys without a sound name")


def _certificates(made: Constraints, cursor: Cursor) -> None:
    made.certified_only = cursor.boolean()
    inner = Cursor(cursor.string())
    found: list[Certificate] = []
    while inner.remaining():
        if len(found) == MOST_CERTIFICATES:
            raise MalformedPacket(f"more than {MOST_CERTIFICATES} certificates")
        try:
            found.append(Certificate.from_blob(inner.string()))
        except KeyFileError as error:
            raise MalformedPacket(f"a constraint's certificate: {error}") from None
    made.certificates = tuple(found)


_EXTENSIONS: Final[Mapping[str, Callable[[Constraints, Cursor], None]]] = {
    RESTRICT_DESTINATION: _destinations,
    SECURITY_KEY_PROVIDER: _provider,
    ASSOCIATED_CERTIFICATES: _certificates,
}


_READERS: Final[Mapping[int, Callable[[Constraints, Cursor], str]]] = {
    LIFETIME: _lifetime,
    CONFIRM: _confirm,
    EXTENSION: _extension,
}


class Binding(Record):
    """A session that a connection to the agent was bound to, and whether it was forwarded there."""

    host_key: bytes
    session_id: bytes
    forwarded: bool


def permitted(
    ways: Sequence[Destination], bindings: Sequence[Binding], *, user: str | None = None
) -> bool:
    """Whether a key with these destinations may be seen, or with ``user`` be used, over these bindings.

    Each hop that was recorded must be one that some destination permits; a user is only ever
    asked for at the last.
    """
    before: bytes | None = None
    for place, binding in enumerate(bindings):
        last = place == len(bindings) - 1
        if last and binding.forwarded and user is not None:
            return False  # a login over a connection that was bound for forwarding
        if not last and not binding.forwarded:
            return False  # a way on through what was bound for a login
        asked = user if last else None
        if not any(way.permits(before, binding.host_key, asked) for way in ways):
            return False
        before = binding.host_key
    if bindings and bindings[-1].forwarded and user is None:
        # Shown to a host only if it may be used beyond it: a key that may log in *to* that host
        # is none of its business.
        return any(way.permits(before, None, None) for way in ways)
    return True
