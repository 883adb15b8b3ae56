# SPDX-License-Identifier: MIT
"""The signature algorithms of host keys and user keys (RFC 4253 section 6.6, RFC 5656, RFC 8332, RFC 8709)."""

from collections.abc import Sequence
from typing import Final

from tellin.algorithms.registry import Algorithm, Registry, Standing


class SignatureAlgorithm(Algorithm):
    """A row of ``SIGNATURES``: which keys sign by it, and over which hash.

    ``name`` is what the two sides agree on and what stands in the signature, ``key_type`` what
    stands in the key. ``standing`` is that of host keys, ``user_standing`` that of user keys.
    """

    def __init__(
        self,
        name: str,
        *,
        key_type: str,
        hash_name: str,
        standing: Standing,
        user_standing: Standing,
        source: str,
        doc: str,
    ) -> None:
        super().__init__(name, standing=standing, source=source, doc=doc)
        self.key_type = key_type
        self.hash_name = hash_name
        self.user_standing = user_standing


SIGNATURES: Final = Registry[SignatureAlgorithm]("signature algorithm")

SIGNATURES.add(
    SignatureAlgorithm(
        "ssh-ed25519",
        key_type="ssh-ed25519",
        hash_name="sha512",
        standing=Standing.DEFAULT,
        user_standing=Standing.DEFAULT,
        source="RFC 8709",
        doc="Ed25519",
    )
)
for _bits, _hash_name in ((256, "sha256"), (384, "sha384"), (521, "sha512")):
    SIGNATURES.add(
        SignatureAlgorithm(
            f"ecdsa-sha2-nistp{_bits}",
            key_type=f"ecdsa-sha2-nistp{_bits}",
            hash_name=_hash_name,
            # A server that shows one lets a single bad random number give its host key away.
            standing=Standing.CLIENT,
            user_standing=Standing.DEFAULT,
            source="RFC 5656",
            doc=f"ECDSA on the curve P-{_bits}",
        )
    )
for _name, _key_type, _hash_name, _doc in (
    (
        "sk-ssh-ed25519@openssh.com",
        "sk-ssh-ed25519@openssh.com",
        "sha512",
        "Ed25519 in a security key",
    ),
    (
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sha256",
        "ECDSA on the curve P-256 in a security key",
    ),
    (
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sha256",
        "the same, by way of a web browser",
    ),
):
    SIGNATURES.add(
        SignatureAlgorithm(
            _name,
            key_type=_key_type,
            hash_name=_hash_name,
            standing=Standing.CLIENT,
            user_standing=Standing.DEFAULT,
            source="OpenSSH PROTOCOL.u2f",
            doc=_doc,
        )
    )
for _bits in (512, 256):
    SIGNATURES.add(
        SignatureAlgorithm(
            f"rsa-sha2-{_bits}",
            key_type="ssh-rsa",
            hash_name=f"sha{_bits}",
            standing=Standing.DEFAULT,
            user_standing=Standing.DEFAULT,
            source="RFC 8332",
            doc=f"RSA over SHA-{_bits}",
        )
    )
SIGNATURES.add(
    SignatureAlgorithm(
        "ssh-rsa",
        key_type="ssh-rsa",
        hash_name="sha1",
        standing=Standing.OFF,
        user_standing=Standing.OFF,
        source="RFC 4253",
        doc="RSA over SHA-1, which can be forged for some tens of thousands of dollars",
    )
)
SIGNATURES.add(
    SignatureAlgorithm(
        "ssh-mldsa44-ed25519@openssh.com",
        key_type="ssh-mldsa44-ed25519@openssh.com",
        hash_name="sha512",
        standing=Standing.OFF,
        user_standing=Standing.OFF,
        source="draft-miller-sshm-mldsa44-ed25519-composite-sigs",
        doc="ML-DSA-44 beside Ed25519, which nobody forges who has not broken both; still a draft",
    )
)

HOST_KEY_ALGORITHMS: Final = SIGNATURES.defaults()
"""What a client takes from a server, best first."""
SERVER_HOST_KEY_ALGORITHMS: Final = SIGNATURES.defaults(server=True)
"""What a server signs by, as far as it has the keys."""
USER_KEY_ALGORITHMS: Final = tuple(
    row.name for row in SIGNATURES if row.user_standing is Standing.DEFAULT
)
"""What a client proves itself by and a server takes."""
CA_SIGNATURE_ALGORITHMS: Final = USER_KEY_ALGORITHMS
"""What an authority may sign certificates by (CASignatureAlgorithms)."""

# Certificates have names of their own, for types of keys and for algorithms alike
# (draft-miller-ssh-cert section 2): all end alike, also those that name no domain without it.
_CERTIFIED: Final = {
    name: f"{name.partition('@')[0]}-cert-v01@openssh.com"
    for row in SIGNATURES
    for name in (row.name, row.key_type)
}
_PLAIN: Final = {certificate: name for name, certificate in _CERTIFIED.items()}


def certified(name: str) -> str:
    """The certificate's name for a key type or an algorithm of ours."""
    return _CERTIFIED[name]


def plain(name: str) -> str:
    """The name without certificate, of what may be a certificate's."""
    return _PLAIN.get(name, name)


def with_certificates(names: Sequence[str]) -> tuple[str, ...]:
    """The same algorithms for certificates, and behind these for keys alone."""
    return (*map(certified, names), *names)


class ShownKey(Algorithm):
    """A row of ``SHOWN_KEYS``: a name by which a key, or its certificate, is shown to the other side."""

    def __init__(self, row: SignatureAlgorithm, *, certificate: bool) -> None:
        super().__init__(
            certified(row.name) if certificate else row.name,
            standing=row.standing,
            source="draft-miller-ssh-cert" if certificate else row.source,
            doc=f"{row.doc}, by a certificate" if certificate else row.doc,
        )
        self.key_type = row.key_type
        self.certificate = certificate


# What the lists of host keys' and users' algorithms may name. Signatures themselves are by the
# names of SIGNATURES alone: a certificate's says what comes with one.
SHOWN_KEYS: Final = Registry[ShownKey]("key algorithm")
for _row in SIGNATURES:
    SHOWN_KEYS.add(ShownKey(_row, certificate=False))
    SHOWN_KEYS.add(ShownKey(_row, certificate=True))
