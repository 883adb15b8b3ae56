# SPDX-License-Identifier: MIT
"""ssh-pkcs11-helper: the one process that loads a PKCS#11 module, and signs with the keys behind it.

A module is a library of anybody's that could do anything to the process that it is in
(CVE-2023-38408): this one holds no keys, and listens to nobody but its parent.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Any, Final

from tellin.agent.tokens import (
    KeysListed,
    ListKeys,
    Reason,
    Signed,
    SignWith,
    TokenError,
)
from tellin.errors import KeyFileError
from tellin.keys.kinds import KINDS
from tellin.keys.public import PublicKey
from tellin.programs.agents.token_service import serve
from tellin.programs.command import Program
from tellin.wire import Record, mpint, string

_MOST_KEYS: Final = 1024

# Named curves as CKA_EC_PARAMS has them: the object identifier, or of Edwards' curve the name.
_CURVES: Final = {
    bytes.fromhex("06082a8648ce3d030107"): "nistp256",
    bytes.fromhex("06052b81040022"): "nistp384",
    bytes.fromhex("06052b81040023"): "nistp521",
}
_ED25519: Final = {bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"}

# What stands before the hash in a signature of RFC 8017 section 9.2. The token is given both
# together: that mechanism is the one which every token has.
_DIGEST_INFO: Final = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def _library() -> Any:
    try:
        import pkcs11
    except ImportError:
        raise TokenError(
            "keys on PKCS#11 tokens need the package python-pkcs11",
            Reason.NOT_INSTALLED,
            hint="pip install 'tellin[pkcs11]'",
        ) from None
    return pkcs11


class _Place(Record):
    """Where a key is: the session of its token, its number there, and what must be said to use it."""

    public: PublicKey
    session: Any
    number: bytes
    login_required: bool


class Module:
    """A module that is loaded, and what its tokens showed."""

    def __init__(self, provider: str) -> None:
        self._pkcs11 = _library()
        self._provider = provider
        try:
            self._module = self._pkcs11.lib(provider)
        except (RuntimeError, OSError) as error:
            raise TokenError(f"{provider}: {str(error) or type(error).__name__}") from None
        self._sessions: dict[int, Any] = {}
        self._pins: dict[int, str] = {}
        self._keys: dict[bytes, _Place] = {}

    def list_keys(self, pin: str) -> KeysListed:
        """All keys of all tokens; a PIN is tried on those that want one."""
        found: dict[bytes, str] = {}
        complaint: TokenError | None = None
        slots = self._module.get_slots(token_present=True)
        for slot in slots:
            try:
                token = slot.get_token()
                if not token.flags & self._pkcs11.TokenFlag.TOKEN_INITIALIZED:
                    continue
                session = self._open(slot.slot_id, token, pin)
            except TokenError as error:
                complaint = error
                continue
            wants = bool(token.flags & self._pkcs11.TokenFlag.LOGIN_REQUIRED)
            for blob, label, number in self._public_keys(session):
                public = PublicKey.from_blob(blob)
                self._keys[blob] = _Place(
                    public, session, number, wants and not self._pins.get(slot.slot_id)
                )
                found.setdefault(blob, label)
        if complaint is not None and not found:
            raise complaint
        if not slots:
            raise TokenError("no token is there", Reason.NOT_THERE)
        return KeysListed(tuple(list(found.items())[:_MOST_KEYS]))

    def _open(self, slot: int, token: Any, pin: str) -> Any:
        """The session of a token, logged in if there is a PIN; one try, since a few lock the token."""
        wants = bool(token.flags & self._pkcs11.TokenFlag.LOGIN_REQUIRED)
        if slot in self._sessions and (not pin or slot in self._pins):
            return self._sessions[slot]
        try:
            if pin and wants:
                opened = token.open(user_pin=pin)
                self._pins[slot] = pin
            else:
                opened = token.open()
        except (self._pkcs11.PinIncorrect, self._pkcs11.PinInvalid, self._pkcs11.PinLenRange):
            raise TokenError("the PIN is wrong", Reason.PIN_WRONG) from None
        except self._pkcs11.PinLocked:
            raise TokenError("the PIN of the token is locked") from None
        except self._pkcs11.UserAlreadyLoggedIn:
            opened = token.open()
        self._sessions[slot] = opened
        return opened

    def _public_keys(self, session: Any) -> Iterator[tuple[bytes, str, bytes]]:
        """Blob, label and number of each key, of certificates' too; what SSH cannot use is left out."""
        attribute, kinds = self._pkcs11.Attribute, self._pkcs11.ObjectClass
        for object_class in (kinds.PUBLIC_KEY, kinds.CERTIFICATE):
            for found in session.get_objects({attribute.CLASS: object_class}):
                try:
                    blob = self._blob(found, certified=object_class is kinds.CERTIFICATE)
                    PublicKey.from_blob(blob)
                    number = bytes(found[attribute.ID])
                # ValueError is the library's for a type of key that it has no name for.
                except (KeyFileError, self._pkcs11.PKCS11Error, NotImplementedError, ValueError):
                    continue
                yield blob, self._label(found), number

    def _label(self, found: Any) -> str:
        """What the owner calls a key; it is as good without one, or with one that cannot be read."""
        try:
            return str(found[self._pkcs11.Attribute.LABEL])
        except (self._pkcs11.PKCS11Error, UnicodeDecodeError):
            return ""

    def _blob(self, found: Any, *, certified: bool) -> bytes:
        attribute, types = self._pkcs11.Attribute, self._pkcs11.KeyType
        if certified:
            from tellin.keys.pem import read_x509

            return read_x509(bytes(found[attribute.VALUE]))
        kind = found[attribute.KEY_TYPE]
        if kind == types.RSA:
            exponent, modulus = (
                mpint(int.from_bytes(found[name], "big"))
                for name in (attribute.PUBLIC_EXPONENT, attribute.MODULUS)
            )
            return string(b"ssh-rsa") + exponent + modulus
        parameters, point = bytes(found[attribute.EC_PARAMS]), bytes(found[attribute.EC_POINT])
        return blob_of_point(parameters, point)

    def sign(self, asked: SignWith, pin: str) -> Signed:
        """A signature, checked before it leaves (R044)."""
        if asked.key not in self._keys:
            self.list_keys(pin)
        place = self._keys.get(asked.key)
        if place is None:
            raise TokenError("the key is on no token that is there", Reason.NOT_THERE)
        if place.login_required and pin:
            self.list_keys(pin)
            place = self._keys[asked.key]
        private = self._private(place)
        # An agent is asked for SHA-1 by flags that name nothing else; the client never asks (R077).
        sha1 = asked.algorithm == place.public.key_type == "ssh-rsa"
        hash_name = "sha1" if sha1 else self._hash_name(place.public, asked.algorithm)
        raw = self._raw(private, place.public.kind, asked.data, hash_name)
        made = string(asked.algorithm.encode("ascii")) + string(raw)
        if not place.public.verify(asked.data, made, algorithm=asked.algorithm, sha1=sha1):
            raise TokenError("the token made a signature that is wrong")
        return Signed(made)

    @staticmethod
    def _hash_name(public: PublicKey, algorithm: str) -> str:
        found = KINDS[public.key_type].signatures.get(algorithm)
        if found is None:
            raise TokenError(f"a {public.kind} key does not sign by {algorithm}")
        return found

    def _private(self, place: _Place) -> Any:
        attribute = self._pkcs11.Attribute
        wanted = {
            attribute.CLASS: self._pkcs11.ObjectClass.PRIVATE_KEY,
            attribute.ID: place.number,
        }
        private = next(iter(place.session.get_objects(wanted)), None)
        if private is not None:
            return private
        if place.login_required:
            raise TokenError("the token wants a PIN", Reason.PIN_NEEDED)
        raise TokenError("the token has no private half of the key", Reason.NOT_THERE)

    def _raw(self, private: Any, kind: str, data: bytes, hash_name: str) -> bytes:
        """The signature as it stands behind the algorithm's name."""
        mechanisms = self._pkcs11.Mechanism
        pin = self._reaffirmed(private)
        if kind == "RSA":
            told = _DIGEST_INFO[hash_name] + hashlib.new(hash_name, data).digest()
            return bytes(private.sign(told, mechanism=mechanisms.RSA_PKCS, pin=pin))
        if kind == "ED25519":
            return bytes(private.sign(data, mechanism=mechanisms.EDDSA, pin=pin))
        digest = hashlib.new(hash_name, data).digest()
        both = bytes(private.sign(digest, mechanism=mechanisms.ECDSA, pin=pin))
        half = len(both) // 2
        return b"".join(mpint(int.from_bytes(n, "big")) for n in (both[:half], both[half:]))

    def _reaffirmed(self, private: Any) -> str | None:
        """The PIN, where a key wants it for each signature (CKA_ALWAYS_AUTHENTICATE)."""
        try:
            always = private[self._pkcs11.Attribute.ALWAYS_AUTHENTICATE]
        except self._pkcs11.PKCS11Error:
            return None
        if not always:
            return None
        for slot, session in self._sessions.items():
            if session == private.session:
                return self._pins.get(slot)
        return None


def blob_of_point(parameters: bytes, point: bytes) -> bytes:
    """The blob of a key on a curve, from CKA_EC_PARAMS and CKA_EC_POINT; KeyFileError for other curves."""
    curve = _CURVES.get(parameters)
    if curve is None and parameters not in _ED25519:
        raise KeyFileError("a key on a curve that SSH has no use for")
    size = len(point) - 2
    # The standard has an OCTET STRING around it (section 6.3.3); some tokens leave that out.
    if size > 0 and point[0] == 4 and point[1] == size and size < 0x80:
        point = point[2:]
    elif size > 0x80 and point[:2] == b"\x04\x81" and point[2] == size - 1:
        point = point[3:]
    if curve is None:
        return string(b"ssh-ed25519") + string(point)
    return (
        string(f"ecdsa-sha2-{curve}".encode("ascii"))
        + string(curve.encode("ascii"))
        + string(point)
    )


class Helper:
    """The modules that were asked for."""

    def __init__(self) -> None:
        self._modules: dict[str, Module] = {}

    def _module(self, provider: str) -> Module:
        path = os.path.realpath(provider)
        if path not in self._modules:
            self._modules[path] = Module(path)
        return self._modules[path]

    def list_keys(self, asked: ListKeys) -> KeysListed:
        """Load a module and look."""
        return self._module(asked.provider).list_keys(asked.pin.decode("utf-8", "replace"))

    def sign(self, asked: SignWith) -> Signed:
        """Sign."""
        return self._module(asked.provider).sign(asked, asked.pin.decode("utf-8", "replace"))


def run(arguments: list[str]) -> int:
    """Serve the parent."""
    helper = Helper()
    return serve({ListKeys: helper.list_keys, SignWith: helper.sign})


PROGRAM: Final = Program(
    "ssh-pkcs11-helper",
    "reach keys on PKCS#11 tokens (started by other programs)",
    run,
    linked=False,
)
