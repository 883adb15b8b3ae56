# SPDX-License-Identifier: MIT
"""Messages of the authentication protocol (RFC 4252), its methods' fields, and what a key signs."""

# No ``from __future__ import annotations``: the annotations are the layout.

from typing import Annotated, Final

from tellin.errors import MalformedPacket
from tellin.wire import (
    Boolean,
    Cursor,
    Message,
    Rest,
    String,
    Text,
    WireType,
    string,
)

SERVICE: Final = "ssh-connection"
NONE: Final = "none"
PUBLIC_KEY: Final = "publickey"
HOST_BOUND: Final = "publickey-hostbound-v00@openssh.com"
PASSWORD: Final = "password"  # noqa: S105  (a method's name)
KEYBOARD_INTERACTIVE: Final = "keyboard-interactive"
HOST_BASED: Final = "hostbased"
# The methods whose secrets cross the connection themselves.
PASSWORD_METHODS: Final = frozenset({PASSWORD, KEYBOARD_INTERACTIVE})

# No person answers more at once; a count is a peer's word (R086).
MAXIMUM_PROMPTS: Final = 32
# Longer lists of methods than this name nothing that we could try.
MAXIMUM_METHODS: Final = 64
# What is shown to a person in one piece: banner, prompt, instruction.
MAXIMUM_SHOWN: Final = 8192


def _shown(raw: bytes) -> str:
    # Servers send banners and prompts in the encoding of the file they took them from: a wrong
    # byte is shown as such and ends nobody's login. The cut may split a character: same answer.
    return raw[:MAXIMUM_SHOWN].decode("utf-8", "replace")


def _read_shown(cursor: Cursor) -> str:
    return _shown(cursor.string())


def _write_shown(value: str) -> bytes:
    return string(value.encode("utf-8", "replace"))


def _read_methods(cursor: Cursor) -> tuple[str, ...]:
    # Not the strict name-list: a stray comma in a refusal is no reason to give up. What could
    # not be the name of a method is left out, so nothing here can move a terminal's cursor.
    names = cursor.string().split(b",", MAXIMUM_METHODS)[:MAXIMUM_METHODS]
    return tuple(
        name.decode("ascii")
        for name in names
        if 0 < len(name) <= 64 and all(33 <= byte <= 126 for byte in name)
    )


def _write_methods(value: tuple[str, ...]) -> bytes:
    return string(",".join(value).encode("ascii"))


def _count(cursor: Cursor, least: int, what: str) -> int:
    count = cursor.uint32()
    if count > MAXIMUM_PROMPTS or count * least > cursor.remaining():
        raise MalformedPacket(f"{count} {what} announced in {cursor.remaining()} bytes")
    return count


def _read_prompts(cursor: Cursor) -> tuple[tuple[str, bool], ...]:
    count = _count(cursor, 5, "prompts")
    return tuple((_read_shown(cursor), cursor.boolean()) for _ in range(count))


def _write_prompts(value: tuple[tuple[str, bool], ...]) -> bytes:
    body = b"".join(_write_shown(text) + bytes((echo,)) for text, echo in value)
    return len(value).to_bytes(4, "big") + body


def _read_responses(cursor: Cursor) -> tuple[bytes, ...]:
    return tuple(cursor.string() for _ in range(_count(cursor, 4, "responses")))


def _write_responses(value: tuple[bytes, ...]) -> bytes:
    return len(value).to_bytes(4, "big") + b"".join(map(string, value))


ShownText = Annotated[str, WireType(_read_shown, _write_shown)]
Methods = Annotated[tuple[str, ...], WireType(_read_methods, _write_methods)]
Prompts = Annotated[tuple[tuple[str, bool], ...], WireType(_read_prompts, _write_prompts)]
Responses = Annotated[tuple[bytes, ...], WireType(_read_responses, _write_responses)]


class UserauthRequest(Message, number=50, secret=("method_data",)):
    """A try to log in (RFC 4252 section 5); the fields of its method are in ``method_data``."""

    user: Text
    service: Text
    method: Text
    method_data: Rest


class UserauthFailure(Message, number=51):
    """No, or not yet (RFC 4252 section 5.1): which methods can continue."""

    methods: Methods
    partial_success: Boolean


class UserauthSuccess(Message, number=52):
    """The user is in (RFC 4252 section 5.1)."""


class UserauthBanner(Message, number=53):
    """A text to show before the login (RFC 4252 section 5.4)."""

    text: ShownText
    language: ShownText


class PublicKeyOk(Message, number=60):
    """A signature by this key would be accepted (RFC 4252 section 7)."""

    algorithm: Text
    key_blob: String


class PasswordChangeRequest(Message, number=60):
    """The password is right but has run out (RFC 4252 section 8)."""

    prompt: ShownText
    language: ShownText


class InfoRequest(Message, number=60):
    """Questions to the person who logs in (RFC 4256 section 3.2)."""

    name: ShownText
    instruction: ShownText
    language: ShownText
    prompts: Prompts


class InfoResponse(Message, number=61, secret=("responses",)):
    """The answers, one for each prompt (RFC 4256 section 3.4)."""

    responses: Responses


class NoneFields(Message):
    """Method ``none`` has no fields (RFC 4252 section 5.2)."""


class PublicKeyFields(Message):
    """Would this key do? (RFC 4252 section 7.) With ``signed`` true, what its signature covers."""

    signed: Boolean
    algorithm: Text
    key_blob: String


class SignedPublicKeyFields(PublicKeyFields):
    """A login by signature (RFC 4252 section 7)."""

    signature: String


class HostBoundFields(PublicKeyFields):
    """As for ``publickey``, with the host key of the first exchange (OpenSSH's PROTOCOL file)."""

    host_key_blob: String


class SignedHostBoundFields(HostBoundFields):
    """A login by a signature that holds for this server's host key only."""

    signature: String


class PasswordFields(Message, secret=("password",)):
    """A login by password (RFC 4252 section 8)."""

    changing: Boolean
    password: String


class PasswordChangeFields(PasswordFields, secret=("new_password",)):
    """A login by password that replaces it (RFC 4252 section 8)."""

    new_password: String


class KeyboardInteractiveFields(Message):
    """A wish to be asked (RFC 4256 section 3.1); ``submethods`` is a hint, separated by commas."""

    language: ShownText
    submethods: String


class HostBasedFields(Message):
    """What a client machine signs to vouch for its user (RFC 4252 section 9)."""

    algorithm: Text
    key_blob: String
    host_name: Text
    client_user: Text


class SignedHostBasedFields(HostBasedFields):
    """A login by the client machine's word (RFC 4252 section 9)."""

    signature: String


# A method's layouts: the one for a leading FALSE, and the one for a leading TRUE.
_LAYOUTS: Final[dict[str, tuple[type[Message], type[Message]]]] = {
    NONE: (NoneFields, NoneFields),
    PUBLIC_KEY: (PublicKeyFields, SignedPublicKeyFields),
    HOST_BOUND: (HostBoundFields, SignedHostBoundFields),
    PASSWORD: (PasswordFields, PasswordChangeFields),
    KEYBOARD_INTERACTIVE: (KeyboardInteractiveFields, KeyboardInteractiveFields),
    HOST_BASED: (SignedHostBasedFields, SignedHostBasedFields),
}


def method_fields(request: UserauthRequest) -> Message | None:
    """The fields of a request's method, read to the last byte; None for a method without a layout here."""
    layouts = _LAYOUTS.get(request.method)
    if layouts is None:
        return None
    flag = request.method_data[:1] not in {b"", b"\0"}
    return layouts[flag].decode(request.method_data)


def signed_data(
    session_id: bytes,
    *,
    user: str,
    algorithm: str,
    key_blob: bytes,
    host_key_blob: bytes | None = None,
    service: str = SERVICE,
) -> bytes:
    """What the signature of a publickey login covers (RFC 4252 section 7).

    With ``host_key_blob`` it is the host-bound form: an agent or a server can then tell for which
    host the signature was made, and a server in the middle cannot use it elsewhere.
    """
    if host_key_blob is None:
        method = PUBLIC_KEY
        fields = PublicKeyFields(signed=True, algorithm=algorithm, key_blob=key_blob)
    else:
        method = HOST_BOUND
        fields = HostBoundFields(
            signed=True, algorithm=algorithm, key_blob=key_blob, host_key_blob=host_key_blob
        )
    request = UserauthRequest(user, service, method, fields.encode())
    return string(session_id) + request.encode()


def host_based_signed_data(
    session_id: bytes, *, user: str, fields: HostBasedFields, service: str = SERVICE
) -> bytes:
    """What the client machine's host key signs (RFC 4252 section 9)."""
    unsigned = HostBasedFields(
        fields.algorithm, fields.key_blob, fields.host_name, fields.client_user
    )
    request = UserauthRequest(user, service, HOST_BASED, unsigned.encode())
    return string(session_id) + request.encode()
