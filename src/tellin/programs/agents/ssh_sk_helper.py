# SPDX-License-Identifier: MIT
"""ssh-sk-helper: the one process that talks to FIDO security keys; makes keys in them and signs with those.

It waits for people who look for their security key and touch it, and ends when its parent does.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from tellin.agent.tokens import (
    FORCE,
    INTERNAL,
    MOST_RESIDENT,
    RESIDENT,
    TOUCH_REQUIRED,
    VERIFY_REQUIRED,
    Enroll,
    Enrolled,
    ListResident,
    Reason,
    Resident,
    ResidentListed,
    Signed,
    SignWith,
    TokenError,
)
from tellin.keys.private import PrivateKey
from tellin.keys.security_keys import application_of
from tellin.keys.token_keys import made_inside, secret_of
from tellin.programs.agents.token_service import serve
from tellin.programs.command import Program
from tellin.wire import Cursor, mpint, string

_ED25519: Final = "sk-ssh-ed25519@openssh.com"
_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
# COSE names of algorithms (RFC 9053 sections 2.1 and 2.2).
_ALGORITHMS: Final = {_ED25519: -8, _ECDSA: -7}
_USER_BYTES: Final = 32
_REPORT: Final = 64  # what a CTAPHID packet has over USB

_COSE_KIND, _COSE_X, _COSE_Y = 1, -2, -3
_COSE_OKP: Final = 1


def _library() -> Any:
    try:
        import fido2.ctap2
        import fido2.hid
    except ImportError:
        raise TokenError(
            "security keys need the package fido2",
            Reason.NOT_INSTALLED,
            hint="pip install 'tellin[fido]'",
        ) from None
    return fido2


def _devices(provider: str) -> Iterator[Any]:
    """All that are plugged in, or the one that is named; each is closed behind its turn."""
    hid = _library().hid
    if provider == INTERNAL:
        descriptors = hid.list_descriptors()
    else:
        descriptors = [_descriptor(hid, provider)]
    for descriptor in descriptors:
        with suppress(OSError, hid.ConnectionFailure):
            device = hid.CtapHidDevice(descriptor, hid.open_connection(descriptor))
            try:
                yield device
            finally:
                device.close()


def _descriptor(hid: Any, path: str) -> Any:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror}", Reason.NOT_THERE) from None
    if not stat.S_ISCHR(status.st_mode):
        # A middleware library of OpenSSH's would be code of anybody's.
        raise TokenError(
            f"{path} is no device: a library that reaches security keys is not loaded here",
            hint=f'name "{INTERNAL}" or a device such as /dev/hidraw0',
        )
    try:
        return hid.get_descriptor(path)
    except (OSError, ValueError):
        # It does not say how long its reports are; over USB they are all of one length.
        from fido2.hid.base import HidDescriptor

        return HidDescriptor(path, 0, 0, _REPORT, _REPORT, None, None)


_UNKNOWN: Final = ("the security key does not know this key", Reason.NOT_THERE)
_UNTOUCHED: Final = ("nobody touched the security key", Reason.FAILED)
_WRONG: Final = ("the PIN is wrong", Reason.PIN_WRONG)
# What the status codes of CTAP 2.1 section 8.2 mean for whoever asked.
_REFUSALS: Final = {
    "PIN_INVALID": _WRONG,
    "PIN_AUTH_INVALID": _WRONG,
    "PUAT_REQUIRED": ("the security key wants its PIN", Reason.PIN_NEEDED),
    "PIN_NOT_SET": ("the security key has no PIN yet: give it one first", Reason.FAILED),
    "PIN_BLOCKED": ("the PIN of the security key is blocked", Reason.FAILED),
    "PIN_AUTH_BLOCKED": (
        "too many wrong PINs: take the security key out and plug it in again",
        Reason.FAILED,
    ),
    "NO_CREDENTIALS": _UNKNOWN,
    "INVALID_CREDENTIAL": _UNKNOWN,
    "USER_ACTION_TIMEOUT": _UNTOUCHED,
    "ACTION_TIMEOUT": _UNTOUCHED,
    "OPERATION_DENIED": ("it was refused at the security key", Reason.FAILED),
    "UNSUPPORTED_ALGORITHM": ("the security key does not make keys of this type", Reason.FAILED),
    "KEY_STORE_FULL": ("the security key can remember no more keys", Reason.FAILED),
}


@contextmanager
def _told() -> Iterator[None]:
    """The library's errors in words of ours."""
    from fido2.ctap import CtapError

    try:
        yield
    except CtapError as error:
        # A code that the library has no name for is a number.
        name = getattr(error.code, "name", "")
        words, reason = _REFUSALS.get(name, (str(error), Reason.FAILED))
        raise TokenError(words, reason) from None


class _Proof:
    """What shows a security key that its PIN is known, for one use."""

    def __init__(self, ctap: Any, pin: str, permission: str, application: str | None) -> None:
        from fido2.ctap2.pin import ClientPin

        client = ClientPin(ctap)
        permissions = ClientPin.PERMISSION[permission]
        if pin:
            token = client.get_pin_token(pin, permissions, application)
        else:
            # Its own way to know somebody: a finger.
            token = client.get_uv_token(permissions, application)
        self.protocol = client.protocol
        self.token = token

    def over(self, data: bytes) -> dict[str, Any]:
        """The words of a request that need it."""
        return {
            "pin_uv_param": self.protocol.authenticate(self.token, data),
            "pin_uv_protocol": self.protocol.VERSION,
        }


def _proof(
    ctap: Any, pin: str, permission: str, application: str | None, *, wanted: bool
) -> _Proof | None:
    """None where nothing needs to be shown; PIN_NEEDED where there is no other way."""
    options = ctap.info.options
    if pin and options.get("clientPin"):
        return _Proof(ctap, pin, permission, application)
    if not wanted:
        return None
    if options.get("uv") and options.get("pinUvAuthToken"):
        return _Proof(ctap, "", permission, application)
    raise TokenError("the security key wants its PIN", Reason.PIN_NEEDED)


def sign(asked: SignWith) -> Signed:
    """Sign, by the first security key that knows the handle."""
    private = PrivateKey.read(Cursor(asked.key))
    if asked.algorithm not in private.public.signature_algorithms:
        raise TokenError(f"a {private.public.kind} key does not sign by {asked.algorithm}")
    secret = secret_of(private)
    application = application_of(private.public.blob).decode("utf-8", "replace")
    hashed = hashlib.sha256(asked.data).digest()
    handle = {"type": "public-key", "id": secret.handle}
    found = False
    for ctap in _authenticators(asked.provider):
        found = True
        verify = bool(secret.flags & VERIFY_REQUIRED)
        # A key that wants a PIN is not even known before it has that.
        if not verify and not _knows(ctap, application, handle):
            continue
        with _told():
            pin = asked.pin.decode("utf-8", "replace")
            proof = _proof(ctap, pin, "GET_ASSERTION", application, wanted=verify)
            assertion = ctap.get_assertion(
                application,
                hashed,
                allow_list=[handle],
                options={"up": bool(secret.flags & TOUCH_REQUIRED)},
                **({} if proof is None else proof.over(hashed)),
            )
        made = _signature(asked.algorithm, assertion)
        if not private.public.verify(
            asked.data, made, algorithm=asked.algorithm, touch_required=False
        ):
            raise TokenError("the security key made a signature that is wrong")
        return Signed(made)
    if found:
        raise TokenError("no security key that is there knows this key", Reason.NOT_THERE)
    raise TokenError("no security key is there", Reason.NOT_THERE)


def _authenticators(provider: str) -> Iterator[Any]:
    from_device = _library().ctap2.Ctap2
    for device in _devices(provider):
        with suppress(ValueError):  # one of the older kind, which does not speak CTAP 2
            yield from_device(device)


def _knows(ctap: Any, application: str, handle: dict[str, Any]) -> bool:
    """Whether it has made the handle: asked without a touch, so that only the right one blinks."""
    from fido2.ctap import CtapError

    try:
        ctap.get_assertion(application, bytes(32), allow_list=[handle], options={"up": False})
    except CtapError as error:
        # Some want a PIN for all that they do: they may know it.
        return bool(error.code == CtapError.ERR.PUAT_REQUIRED)
    return True


def _signature(algorithm: str, assertion: Any) -> bytes:
    """As PROTOCOL.u2f has it: what the security key says beside it comes behind."""
    raw = bytes(assertion.signature)
    if algorithm == _ECDSA:
        raw = b"".join(map(mpint, _integers(raw)))
    data = bytes(assertion.auth_data)
    return string(algorithm.encode("ascii")) + string(raw) + data[32:37]


def _integers(der: bytes) -> list[int]:
    """The two numbers of an ECDSA signature in DER: SEQUENCE { INTEGER r, INTEGER s }."""
    found: list[int] = []
    at = 2
    if len(der) < 2 or der[0] != 0x30 or der[1] != len(der) - 2:
        raise TokenError("the security key made a signature that is damaged")
    while at + 2 <= len(der) and der[at] == 2 and at + 2 + der[at + 1] <= len(der):
        found.append(int.from_bytes(der[at + 2 : at + 2 + der[at + 1]], "big"))
        at += 2 + der[at + 1]
    if len(found) != 2 or at != len(der):
        raise TokenError("the security key made a signature that is damaged")
    return found


def enroll(asked: Enroll) -> Enrolled:
    """Make a key in the security key that is there."""
    algorithm = _ALGORITHMS.get(asked.key_type)
    if algorithm is None:
        raise TokenError(f"no security key makes keys of type {asked.key_type}")
    pin = asked.pin.decode("utf-8", "replace")
    hashed = hashlib.sha256(asked.challenge).digest()
    # Only the first: more than one that blinks, and nobody knows which to touch.
    # The device is open for as long as somebody holds what it came from.
    authenticators = _authenticators(asked.provider)
    ctap = next(authenticators, None)
    if ctap is None:
        raise TokenError("no security key is there", Reason.NOT_THERE)
    with _told():
        options = ctap.info.options
        resident = bool(asked.flags & RESIDENT)
        verify = bool(asked.flags & VERIFY_REQUIRED)
        # With a PIN set, most want it to make any key; those of CTAP 2.1 may say that they do not.
        wanted = verify or (
            bool(options.get("clientPin")) and not _makes_unverified(ctap, resident)
        )
        if resident and not options.get("rk"):
            raise TokenError("the security key cannot remember keys")
        user = asked.user.encode()
        if len(user) >= _USER_BYTES:
            # R189: cut off, it could be another's, whose key would be overwritten.
            raise TokenError(
                f"a user id of {len(user)} bytes, where {_USER_BYTES - 1} are room for"
            )
        user = user.ljust(_USER_BYTES, b"\0")
        if resident and pin and not asked.flags & FORCE:
            _refuse_twice(ctap, pin, asked.application, user)
        proof = _proof(ctap, pin, "MAKE_CREDENTIAL", asked.application, wanted=wanted)
        made = ctap.make_credential(
            hashed,
            {"id": asked.application, "name": asked.application},
            {"id": user, "name": "openssh", "displayName": "openssh"},
            [{"type": "public-key", "alg": algorithm}],
            options={"rk": True} if resident else None,
            extensions=_extensions(ctap, resident=resident, verify=verify),
            **({} if proof is None else proof.over(hashed)),
        )
    credential = made.auth_data.credential_data
    if credential is None:
        raise TokenError("the security key made no key")
    private = _private(
        credential.public_key,
        asked.application,
        flags=asked.flags & ~FORCE,
        handle=bytes(credential.credential_id),
    )
    if private.public.key_type != asked.key_type:
        raise TokenError("the security key made a key of another type")
    statement = made.att_stmt
    certificates = statement.get("x5c") or [b""]
    from fido2 import cbor

    return Enrolled(
        private.encode(),
        bytes(certificates[0]),
        bytes(statement.get("sig", b"")),
        cbor.encode(bytes(made.auth_data)),
    )


def _makes_unverified(ctap: Any, resident: bool) -> bool:
    return bool(ctap.info.options.get("makeCredUvNotRqd")) and not resident


def _extensions(ctap: Any, *, resident: bool, verify: bool) -> dict[str, Any] | None:
    """How well it is to guard the key: against who has found it, and against who only asks it."""
    if "credProtect" not in ctap.info.extensions or not (resident or verify):
        return None
    return {"credProtect": 3 if verify else 2}


def _refuse_twice(ctap: Any, pin: str, application: str, user: bytes) -> None:
    """A second key for the same application and user would take the place of the first."""
    if not ctap.info.options.get("credMgmt"):
        return
    for private, owner in _remembered(ctap, pin):
        if owner == user and application_of(private.public.blob) == application.encode():
            raise TokenError(
                "the security key remembers a key for this application and user already",
                Reason.EXISTS,
            )


def _private(cose: Any, application: str, *, flags: int, handle: bytes) -> PrivateKey:
    if cose[_COSE_KIND] == _COSE_OKP:
        key_type, point = _ED25519, bytes(cose[_COSE_X])
    else:
        key_type, point = _ECDSA, b"\4" + bytes(cose[_COSE_X]) + bytes(cose[_COSE_Y])
    return made_inside(
        key_type, point, application=application.encode(), flags=flags, handle=handle
    )


def list_resident(asked: ListResident) -> ResidentListed:
    """The keys for SSH that the security keys remember."""
    found: list[Resident] = []
    there = False
    for ctap in _authenticators(asked.provider):
        there = True
        with _told():
            pin = asked.pin.decode("utf-8", "replace")
            if not ctap.info.options.get("credMgmt"):
                raise TokenError("the security key does not list the keys that it remembers")
            found += [Resident(key.encode(), user) for key, user in _remembered(ctap, pin)]
    if not there:
        raise TokenError("no security key is there", Reason.NOT_THERE)
    return ResidentListed(tuple(found[:MOST_RESIDENT]))


def _remembered(ctap: Any, pin: str) -> Iterator[tuple[PrivateKey, bytes]]:
    from fido2.ctap2.credman import CredentialManagement

    proof = _proof(ctap, pin, "CREDENTIAL_MGMT", None, wanted=True)
    assert proof is not None
    result = CredentialManagement.RESULT
    manager = CredentialManagement(ctap, proof.protocol, proof.token)
    for party in manager.enumerate_rps():
        application = party[result.RP]["id"]
        if not application.startswith("ssh:"):
            continue
        for one in manager.enumerate_creds(party[result.RP_ID_HASH]):
            verify = one.get(result.CRED_PROTECT) == 3
            flags = TOUCH_REQUIRED | RESIDENT | (VERIFY_REQUIRED if verify else 0)
            handle = bytes(one[result.CREDENTIAL_ID]["id"])
            private = _private(one[result.PUBLIC_KEY], application, flags=flags, handle=handle)
            yield private, bytes(one[result.USER]["id"])


def run(arguments: list[str]) -> int:
    """Serve the parent."""
    handlers: dict[type, Callable[[Any], Any]] = {
        SignWith: sign,
        Enroll: enroll,
        ListResident: list_resident,
    }
    return serve(handlers)


PROGRAM: Final = Program(
    "ssh-sk-helper", "reach keys in security keys (started by other programs)", run, linked=False
)
