# SPDX-License-Identifier: MIT
"""Certificates among the keys to log in with: those that are named, and those that lie beside a key.

Loaded only where there is one.
"""

from collections.abc import Callable, Iterable, Sequence

from tellin.algorithms.signatures import plain
from tellin.client.authentication.identities import Identity, KeySource
from tellin.errors import KeyFileError, TellinError
from tellin.keys.certificates import Certificate, CertificateRole, load_certificate
from tellin.keys.formats import MOST_BYTES
from tellin.keys.shown import Shown
from tellin.runtime.files import read_file
from tellin.runtime.journal import Journal


class CertifiedIdentity:
    """A key that is shown by its certificate; ``signer`` is the key."""

    def __init__(
        self, signer: Identity, certificate: Certificate, *, name: str, explicit: bool
    ) -> None:
        self.name = name
        self.explicit = explicit
        self.public: Shown | None = certificate
        self._certificate = certificate
        self._signer = signer

    @property
    def usable(self) -> bool:
        """Whether there is a key for it, and this is the one."""
        public = self._signer.public
        if public is not None and public.blob != self._certificate.key.blob:
            return False
        return self._signer.usable

    @property
    def ready(self) -> bool:
        """Whether the key signs without asking anybody anything."""
        return self._signer.ready

    def open(self, done: Callable[[bool], object]) -> None:
        """There is nothing to find out."""
        done(True)

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """Have the key sign, under its own algorithm's name."""
        self._signer.sign(data, plain(algorithm), done)


def with_certificates(
    found: Sequence[Identity],
    listed: Iterable[tuple[str, Certificate]],
    beside: Iterable[tuple[str, Certificate]],
) -> list[Identity]:
    """The identities with certificates among them, as OpenSSH has it.

    What is ``listed`` comes first of all, what lies ``beside`` a key (known by its name) right
    behind it. Whoever holds the key signs, first of all an agent.
    """
    made: list[Identity] = []
    for name, certificate in listed:
        signer = _holder(found, certificate)
        if signer is not None:
            made.append(CertifiedIdentity(signer, certificate, name=name, explicit=True))
    left = list(beside)
    for identity in found:
        made.append(identity)
        for name, certificate in left:
            # A key whose public half nobody knows yet is known by its file.
            if identity.name == name or _holds(identity, certificate):
                left.remove((name, certificate))
                signer = _holder(found, certificate) or identity
                explicit = identity.explicit
                made.append(CertifiedIdentity(signer, certificate, name=name, explicit=explicit))
                break
    return made


def _holds(identity: Identity, certificate: Certificate) -> bool:
    public = identity.public
    return public is not None and public.blob == certificate.key.blob


def _holder(found: Sequence[Identity], certificate: Certificate) -> Identity | None:
    return next((identity for identity in found if _holds(identity, certificate)), None)


class JoinedKeys:
    """The keys of ``keys`` with certificates among them, as ``with_certificates`` has it."""

    def __init__(
        self,
        keys: KeySource,
        listed: Iterable[tuple[str, Certificate]],
        beside: Iterable[tuple[str, Certificate]],
    ) -> None:
        self._keys = keys
        self._listed = list(listed)
        self._beside = list(beside)

    def prepare(self) -> None:
        """Have the keys get ready."""
        self._keys.prepare()

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """All of them."""
        self._keys.identities(
            lambda found: done(with_certificates(found, self._listed, self._beside))
        )


class CertifiedKeys(JoinedKeys):
    """The keys of ``keys``, and their certificates in the files named."""

    def __init__(
        self, keys: KeySource, *, listed: Sequence[str], beside: Sequence[str], journal: Journal
    ) -> None:
        self._journal = journal
        super().__init__(
            keys,
            self._read((path, path) for path in listed),
            self._read((path, beside_key(path)) for path in beside),
        )

    def _read(self, files: Iterable[tuple[str, str]]) -> Iterable[tuple[str, Certificate]]:
        for name, path in files:
            try:
                certificate = read_certificate(path)
            except (OSError, TellinError) as error:
                cause = error.strerror if isinstance(error, OSError) else str(error)
                self._journal.debug(f"certificate file {path}: {cause}")
                continue
            self._journal.debug(f"certificate file {path} type {certificate.kind}")
            yield name, certificate


def beside_key(path: str) -> str:
    """Where a key's certificate lies that nobody has named."""
    return f"{path}-cert.pub"


def read_certificate(path: str) -> Certificate:
    """A user's certificate in a file; raises OSError, and KeyFileError for anything else."""
    certificate = load_certificate(read_file(path, limit=MOST_BYTES), name=path)
    if certificate.role is not CertificateRole.USER:
        raise KeyFileError(f"{path}: not a user certificate")
    return certificate


def user_certificate(blob: bytes) -> Certificate:
    """The same of a certificate in memory."""
    certificate = Certificate.from_blob(blob)
    if certificate.role is not CertificateRole.USER:
        raise KeyFileError(f"not a user certificate: {certificate!r}")
    return certificate
