# SPDX-License-Identifier: MIT
"""A FIDO security key in software, behind a pseudo-terminal: real CTAPHID packets, real CTAP 2 CBOR.

It is on the fido2 package's classes for the encodings, and has the keys, the PIN, the memory and
the finger of a security key. ``path`` is its device.
"""

import contextlib
import hashlib
import hmac
import os
import struct
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fido2 import cbor
from fido2.cose import ES256, CoseKey, EdDSA
from fido2.ctap import CtapError
from fido2.ctap2 import Ctap2
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin, PinProtocolV2
from fido2.hid import CAPABILITY, CTAPHID, TYPE_INIT
from fido2.webauthn import Aaguid, AttestedCredentialData, AuthenticatorData

ERR = CtapError.ERR
REPORT: Final = 64
BROADCAST: Final = 0xFFFFFFFF
AAGUID: Final = Aaguid(b"tellin-softtoken")
FLAG = AuthenticatorData.FLAG


class Credential(NamedTuple):
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    identifier: bytes
    party: str
    user: Mapping[str, Any]
    resident: bool
    protection: int

    @property
    def public(self) -> CoseKey:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return EdDSA.from_cryptography_key(self.private.public_key())
        return ES256.from_cryptography_key(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


class Refusal(Exception):
    """A status byte that is not zero."""


class SoftwareToken:
    """One security key; a thread of its own serves it while it is entered."""

    def __init__(self, *, pin: str | None = None) -> None:
        self.pin = pin
        self.retries = 8
        self.touches = 0
        self.is_touched = True
        self.algorithms: tuple[int, ...] = (EdDSA.ALGORITHM, ES256.ALGORITHM)
        self.credentials: list[Credential] = []
        self.counter = 7
        self.requests: list[int] = []
        self.attestation = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _certificate(self.attestation)
        self._agreement = ec.generate_private_key(ec.SECP256R1())
        self._pin_token = os.urandom(32)
        self._permissions = ClientPin.PERMISSION(0)
        self._listing: Iterator[dict[int, Any]] = iter(())
        self._master = self._slave = -1
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._slave, b"\xff" * (REPORT + 1))  # the thread's last packet
        self._thread.join(60)
        os.close(self._master)
        os.close(self._slave)

    # CTAPHID (CTAP 2.1 section 11.2)

    def _serve(self) -> None:
        pending: dict[int, tuple[int, int, bytes]] = {}
        while True:
            packet = b""
            while len(packet) < REPORT + 1:
                packet += os.read(self._master, REPORT + 1 - len(packet))
            if packet[0] == 0xFF:
                return
            channel = int.from_bytes(packet[1:5], "big")
            if packet[5] & TYPE_INIT:
                command, size = packet[5] & 0x7F, int.from_bytes(packet[6:8], "big")
                data = packet[8:]
            else:
                command, size, data = pending[channel]
                data += packet[6:]
            if len(data) < size:
                pending[channel] = (command, size, data)
                continue
            self._command(channel, command, data[:size])

    def _command(self, channel: int, command: int, data: bytes) -> None:
        if command == CTAPHID.INIT:
            # What is left of somebody's conversation who went away is not the next one's.
            termios.tcflush(self._slave, termios.TCIFLUSH)
            version = struct.pack(">IBBBBB", 0x01020304, 2, 1, 0, 0, CAPABILITY.CBOR)
            self._send(channel, command, data + version)
        elif command == CTAPHID.CBOR:
            self._send(channel, command, self._cbor(data))

    def _send(self, channel: int, command: int, data: bytes) -> None:
        head = struct.pack(">IBH", channel, TYPE_INIT | command, len(data))
        number = 0
        while head:
            room = REPORT - len(head)
            packet, data = head + data[:room], data[room:]
            os.write(self._master, packet.ljust(REPORT, b"\0"))
            head = struct.pack(">IB", channel, number) if data else b""
            number += 1

    # CTAP 2

    def _cbor(self, data: bytes) -> bytes:
        self.requests.append(data[0])
        parameters = cbor.decode(data[1:]) if data[1:] else {}
        handler = _COMMANDS.get(data[0])
        if handler is None:
            return bytes((ERR.INVALID_COMMAND,))
        try:
            answer = handler(self, parameters)
        except Refusal as error:
            return bytes((error.args[0],))
        return b"\0" + (cbor.encode(answer) if answer else b"")

    def _info(self, _: dict[int, Any]) -> dict[int, Any]:
        options = {
            "rk": True,
            "up": True,
            "clientPin": self.pin is not None,
            "credMgmt": True,
            "pinUvAuthToken": True,
            "makeCredUvNotRqd": True,
        }
        return {
            1: ["FIDO_2_0", "FIDO_2_1"],
            2: ["credProtect"],
            3: bytes(AAGUID),
            4: options,
            6: [2],
        }

    def _touch(self) -> None:
        if not self.is_touched:
            raise Refusal(ERR.USER_ACTION_TIMEOUT)
        self.touches += 1

    def _verified(self, parameters: dict[int, Any], message: bytes, at: int) -> bool:
        """Whether the request proves that the PIN is known."""
        if at not in parameters:
            return False
        made = hmac.new(self._pin_token, message, "sha256").digest()
        if not hmac.compare_digest(made, parameters[at]):
            raise Refusal(ERR.PIN_AUTH_INVALID)
        return True

    def _make(self, parameters: dict[int, Any]) -> dict[int, Any]:
        hashed, party, user = parameters[1], parameters[2]["id"], parameters[3]
        options, extensions = parameters.get(7, {}), parameters.get(6, {})
        verified = self._verified(parameters, hashed, 8)
        resident = bool(options.get("rk"))
        if self.pin is not None and resident and not verified:
            raise Refusal(ERR.PUAT_REQUIRED)
        wanted = [one["alg"] for one in parameters[4]]
        if not set(wanted) & set(self.algorithms):
            raise Refusal(ERR.UNSUPPORTED_ALGORITHM)
        self._touch()
        private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = (
            ed25519.Ed25519PrivateKey.generate()
            if wanted[0] == EdDSA.ALGORITHM
            else ec.generate_private_key(ec.SECP256R1())
        )
        protection = extensions.get("credProtect", 1)
        made = Credential(private, os.urandom(48), party, user, resident, protection)
        self.credentials.append(made)
        data = AuthenticatorData.create(
            hashlib.sha256(party.encode()).digest(),
            FLAG.UP | FLAG.AT | (FLAG.UV if verified else FLAG(0)),
            self._counted(),
            AttestedCredentialData.create(AAGUID, made.identifier, made.public),
        )
        signature = self.attestation.sign(bytes(data) + hashed, ec.ECDSA(hashes.SHA256()))
        statement = {"alg": ES256.ALGORITHM, "sig": signature, "x5c": [self.certificate]}
        return {1: "packed", 2: bytes(data), 3: statement}

    def _counted(self) -> int:
        self.counter += 1
        return self.counter

    def _assert(self, parameters: dict[int, Any]) -> dict[int, Any]:
        party, hashed = parameters[1], parameters[2]
        verified = self._verified(parameters, hashed, 6)
        handles = {one["id"] for one in parameters[3]}
        found = [
            one
            for one in self.credentials
            if one.party == party
            and one.identifier in handles
            and (verified or one.protection < 3)
        ]
        if not found:
            raise Refusal(ERR.NO_CREDENTIALS)
        flags = FLAG.UV if verified else FLAG(0)
        if parameters.get(5, {}).get("up", True):
            self._touch()
            flags |= FLAG.UP
        data = AuthenticatorData.create(
            hashlib.sha256(party.encode()).digest(), flags, self._counted()
        )
        signature = found[0].sign(bytes(data) + hashed)
        descriptor = {"type": "public-key", "id": found[0].identifier}
        return {1: descriptor, 2: bytes(data), 3: signature}

    def _pin(self, parameters: dict[int, Any]) -> dict[int, Any]:
        command = parameters[2]
        if command == ClientPin.CMD.GET_KEY_AGREEMENT:
            public = ES256.from_cryptography_key(self._agreement.public_key())
            return {1: {**public, 3: -25}}
        if command == ClientPin.CMD.GET_PIN_RETRIES:
            return {3: self.retries}
        if command != ClientPin.CMD.GET_TOKEN_USING_PIN:
            raise Refusal(ERR.INVALID_SUBCOMMAND)
        if self.pin is None:
            raise Refusal(ERR.PIN_NOT_SET)
        if self.retries == 0:
            raise Refusal(ERR.PIN_BLOCKED)
        secret = self._secret(parameters[3])
        protocol = PinProtocolV2()
        typed = protocol.decrypt(secret, parameters[6])
        if not hmac.compare_digest(typed, hashlib.sha256(self.pin.encode()).digest()[:16]):
            self.retries -= 1
            self._agreement = ec.generate_private_key(ec.SECP256R1())
            raise Refusal(ERR.PIN_INVALID)
        self.retries = 8
        self._pin_token = os.urandom(32)
        self._permissions = ClientPin.PERMISSION(parameters[9])
        return {2: protocol.encrypt(secret, self._pin_token)}

    def _secret(self, cose: Mapping[int, Any]) -> bytes:
        numbers = ec.EllipticCurvePublicNumbers(
            *(int.from_bytes(cose[at], "big") for at in (-2, -3)), ec.SECP256R1()
        )
        return PinProtocolV2().kdf(self._agreement.exchange(ec.ECDH(), numbers.public_key()))

    def _manage(self, parameters: dict[int, Any]) -> dict[int, Any]:
        commands, results = CredentialManagement.CMD, CredentialManagement.RESULT
        command = parameters[1]
        if command in {commands.ENUMERATE_RPS_NEXT, commands.ENUMERATE_CREDS_NEXT}:
            return next(self._listing)
        message = bytes((command,)) + (cbor.encode(parameters[2]) if 2 in parameters else b"")
        if not self._verified(parameters, message, 4):
            raise Refusal(ERR.PUAT_REQUIRED)
        if not self._permissions & ClientPin.PERMISSION.CREDENTIAL_MGMT:
            raise Refusal(ERR.PIN_AUTH_INVALID)
        resident = [one for one in self.credentials if one.resident]
        if not resident:
            raise Refusal(ERR.NO_CREDENTIALS)
        if command == commands.ENUMERATE_RPS_BEGIN:
            parties = sorted({one.party for one in resident})
            rows = [
                {
                    results.RP: {"id": party},
                    results.RP_ID_HASH: hashlib.sha256(party.encode()).digest(),
                }
                for party in parties
            ]
            rows[0][results.TOTAL_RPS] = len(rows)
        else:
            wanted = parameters[2][CredentialManagement.PARAM.RP_ID_HASH]
            rows = [
                {
                    results.USER: one.user,
                    results.CREDENTIAL_ID: {"type": "public-key", "id": one.identifier},
                    results.PUBLIC_KEY: dict(one.public),
                    results.CRED_PROTECT: one.protection,
                }
                for one in resident
                if hashlib.sha256(one.party.encode()).digest() == wanted
            ]
            rows[0][results.TOTAL_CREDENTIALS] = len(rows)
        self._listing = iter(rows)
        return next(self._listing)


_Handler = Callable[[SoftwareToken, dict[int, Any]], dict[int, Any]]
_COMMANDS: Final[Mapping[int, _Handler]] = {
    Ctap2.CMD.GET_INFO: SoftwareToken._info,
    Ctap2.CMD.MAKE_CREDENTIAL: SoftwareToken._make,
    Ctap2.CMD.GET_ASSERTION: SoftwareToken._assert,
    Ctap2.CMD.CLIENT_PIN: SoftwareToken._pin,
    Ctap2.CMD.CREDENTIAL_MGMT: SoftwareToken._manage,
}


def _certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a token in software")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


@contextlib.contextmanager
def software_token(*, pin: str | None = None) -> Iterator[SoftwareToken]:
    with SoftwareToken(pin=pin) as token:
        yield token
