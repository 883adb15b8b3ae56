# SPDX-License-Identifier: MIT
"""The key exchange methods: which there are, and what they need (RFC 4253 section 7)."""

# This is a table of names that a client reads before it connects. What a method needs, PyCA above
# all, is imported when it runs: there is time for that while the two machines greet each other.
# ruff: noqa: PLC0415

from collections.abc import Callable
from typing import Any, Final, Protocol

from tellin.algorithms.moduli import Moduli
from tellin.algorithms.registry import Algorithm, Registry, Standing
from tellin.wire.states import State

__all__ = [
    "CLIENT_KEY_EXCHANGES",
    "KEY_EXCHANGES",
    "SERVER_KEY_EXCHANGES",
    "STRICT_KEY_EXCHANGES",
    "Family",
    "Initiator",
    "KeyExchange",
    "Moduli",
]


class Family(State):
    """Which messages a method runs by."""

    ECDH = "public values are strings (RFC 5656 section 4)"
    DH = "public values are integers in a fixed group (RFC 4253 section 8)"
    GEX = "public values are integers in a group that the server picks (RFC 4419)"


class Initiator(Protocol):
    """The client's half of one exchange."""

    @property
    def public(self) -> Any:
        """What to send: a string, or an integer in the families DH and GEX."""

    def finish(self, peer_public: Any, /) -> bytes:
        """The shared secret, encoded as the exchange hash takes it; raises ProtocolError."""


class Agreement(Protocol):
    """The mathematics of a method."""

    def start(self, *group: int) -> Initiator:
        """The client's half."""

    def respond(self, peer_public: Any, /, *group: int) -> tuple[Any, bytes]:
        """The server's half: its public value, and the secret as the exchange hash takes it."""


class KeyExchange(Algorithm):
    """A row of ``KEY_EXCHANGES``; ``build`` gives the mathematics, which may take an import."""

    def __init__(
        self,
        name: str,
        *,
        hash_name: str,
        family: Family,
        build: Callable[[], Agreement],
        post_quantum: bool = False,
        standing: Standing,
        source: str,
        doc: str,
    ) -> None:
        super().__init__(name, standing=standing, source=source, doc=doc)
        self.hash_name = hash_name
        self.family = family
        self.build = build
        self.post_quantum = post_quantum
        self._prepared: Initiator | None = None

    def prepare(self) -> None:
        """Make the key that the next ``start`` of this process gives out, where no group is needed first.

        For a client that waits for its connection anyway. Nothing may be forked off in between:
        two processes would then share one key (R046).
        """
        if self.family is not Family.GEX:
            self._prepared = self.build().start()

    def start(self, *group: int) -> Initiator:
        """Begin as the client; ``group`` is prime and generator, in the family GEX alone."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            return prepared
        return self.build().start(*group)

    def respond(self, peer_public: Any, *group: int) -> tuple[Any, bytes]:
        """Answer as the server: our public value, and the secret as the exchange hash takes it.

        Raises ProtocolError for a value that no honest client sends.
        """
        return self.build().respond(peer_public, *group)

    def digest(self, data: bytes) -> bytes:
        """The method's hash, which makes the exchange hash."""
        from tellin.algorithms.hashing import digest

        return digest(self.hash_name, data)


KEY_EXCHANGES: Final = Registry[KeyExchange]("key exchange")


def _curve25519() -> Agreement:
    from tellin.algorithms.elliptic_curves import Curve25519, EllipticCurve

    return EllipticCurve(Curve25519())


def _nist_curve(bits: int) -> Callable[[], Agreement]:
    def build() -> Agreement:
        from tellin.algorithms.elliptic_curves import EllipticCurve
        from tellin.algorithms.nist_curves import NistCurve

        return EllipticCurve(NistCurve(bits))

    return build


def _mlkem_and_curve25519() -> Agreement:
    from tellin.algorithms.elliptic_curves import Curve25519
    from tellin.algorithms.post_quantum import Hybrid, MlKem768

    return Hybrid(MlKem768(), Curve25519())


def _mlkem_and_nist_curve() -> Agreement:
    from tellin.algorithms.nist_curves import NistCurve
    from tellin.algorithms.post_quantum import Hybrid, MlKem768

    return Hybrid(MlKem768(), NistCurve(256))


def _sntrup_and_curve25519() -> Agreement:
    from tellin.algorithms.elliptic_curves import Curve25519
    from tellin.algorithms.post_quantum import Hybrid
    from tellin.algorithms.sntrup761 import Sntrup761

    return Hybrid(Sntrup761(), Curve25519())


def _finite(bits: int) -> Callable[[], Agreement]:
    def build() -> Agreement:
        from tellin.algorithms.finite_field import FiniteField

        return FiniteField(bits)

    return build


KEY_EXCHANGES.add(
    KeyExchange(
        "mlkem768x25519-sha256",
        hash_name="sha256",
        family=Family.ECDH,
        build=_mlkem_and_curve25519,
        post_quantum=True,
        standing=Standing.DEFAULT,
        source="draft-ietf-sshm-mlkem-hybrid-kex",
        doc="ML-KEM-768 beside Curve25519: what is recorded today stays secret from a quantum computer",
    )
)
for _name, _source in (
    ("sntrup761x25519-sha512", "RFC 9941"),
    ("sntrup761x25519-sha512@openssh.com", "RFC 9941, under its older name"),
):
    KEY_EXCHANGES.add(
        KeyExchange(
            _name,
            hash_name="sha512",
            family=Family.ECDH,
            build=_sntrup_and_curve25519,
            post_quantum=True,
            standing=Standing.DEFAULT,
            source=_source,
            doc="Streamlined NTRU Prime 761 beside Curve25519: for servers from before ML-KEM",
        )
    )
KEY_EXCHANGES.add(
    KeyExchange(
        "mlkem768nistp256-sha256",
        hash_name="sha256",
        family=Family.ECDH,
        build=_mlkem_and_nist_curve,
        post_quantum=True,
        standing=Standing.OFF,
        source="draft-ietf-sshm-mlkem-hybrid-kex",
        doc="ML-KEM-768 beside the curve P-256, for those who must use a curve of FIPS 186",
    )
)
for _name, _source in (
    ("curve25519-sha256", "RFC 8731"),
    ("curve25519-sha256@libssh.org", "RFC 8731, under its older name"),
):
    KEY_EXCHANGES.add(
        KeyExchange(
            _name,
            hash_name="sha256",
            family=Family.ECDH,
            build=_curve25519,
            standing=Standing.DEFAULT,
            source=_source,
            doc="Diffie-Hellman on Curve25519",
        )
    )
for _bits, _hash_name in ((256, "sha256"), (384, "sha384"), (521, "sha512")):
    KEY_EXCHANGES.add(
        KeyExchange(
            f"ecdh-sha2-nistp{_bits}",
            hash_name=_hash_name,
            family=Family.ECDH,
            build=_nist_curve(_bits),
            standing=Standing.CLIENT,
            source="RFC 5656",
            doc=f"Diffie-Hellman on the curve P-{_bits}",
        )
    )
for _name, _family, _bits, _hash_name, _standing, _source, _doc in (
    (
        "diffie-hellman-group-exchange-sha256",
        Family.GEX,
        0,
        "sha256",
        Standing.CLIENT,
        "RFC 4419",
        "Diffie-Hellman in a group that the server picks",
    ),
    (
        "diffie-hellman-group16-sha512",
        Family.DH,
        4096,
        "sha512",
        Standing.CLIENT,
        "RFC 8268",
        "Diffie-Hellman in the fixed group of 4096 bits",
    ),
    (
        "diffie-hellman-group18-sha512",
        Family.DH,
        8192,
        "sha512",
        Standing.CLIENT,
        "RFC 8268",
        "Diffie-Hellman in the fixed group of 8192 bits",
    ),
    (
        "diffie-hellman-group14-sha256",
        Family.DH,
        2048,
        "sha256",
        Standing.CLIENT,
        "RFC 8268",
        "Diffie-Hellman in the fixed group of 2048 bits",
    ),
    (
        "diffie-hellman-group-exchange-sha1",
        Family.GEX,
        0,
        "sha1",
        Standing.OFF,
        "RFC 4419",
        "Diffie-Hellman in a group that the server picks, under a broken hash",
    ),
    (
        "diffie-hellman-group14-sha1",
        Family.DH,
        2048,
        "sha1",
        Standing.OFF,
        "RFC 4253",
        "Diffie-Hellman in the fixed group of 2048 bits, under a broken hash",
    ),
    (
        "diffie-hellman-group1-sha1",
        Family.DH,
        1024,
        "sha1",
        Standing.OFF,
        "RFC 4253",
        "Diffie-Hellman in a group of 1024 bits, which a state can break, under a broken hash",
    ),
):
    KEY_EXCHANGES.add(
        KeyExchange(
            _name,
            hash_name=_hash_name,
            family=_family,
            build=_finite(_bits),
            standing=_standing,
            source=_source,
            doc=_doc,
        )
    )

CLIENT_KEY_EXCHANGES: Final = KEY_EXCHANGES.defaults()
# No finite field: a stranger's made-up number costs us two powers and the stranger nothing (R038).
SERVER_KEY_EXCHANGES: Final = KEY_EXCHANGES.defaults(server=True)
STRICT_KEY_EXCHANGES: Final = tuple(
    name for name in SERVER_KEY_EXCHANGES if KEY_EXCHANGES[name].post_quantum
)
