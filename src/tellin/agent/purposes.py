# SPDX-License-Identifier: MIT
"""What a signature that an agent is asked for would be good for: a login, a file, or who knows what."""

from typing import Final

from tellin.agent.messages import SignRequest
from tellin.errors import MalformedPacket
from tellin.userauth.messages import (
    HOST_BOUND,
    PUBLIC_KEY,
    SERVICE,
    HostBoundFields,
    PublicKeyFields,
    UserauthRequest,
)
from tellin.wire import Cursor, Record

# OpenSSH PROTOCOL.sshsig: before the namespace of a file's signature.
_FILE_MAGIC: Final = b"SSHSIG"
_FILE_HASHES: Final = {b"sha256", b"sha512"}


class Login(Record):
    """What a signature for a login covers (RFC 4252 section 7)."""

    session_id: bytes
    user: str
    host_key: bytes | None


def login_of(request: SignRequest) -> Login | None:
    """What is to be signed, if it is a login by that key and nothing else."""
    try:
        cursor = Cursor(request.data)
        session_id = cursor.string()
        asked = cursor.rest()
        if not asked or asked[0] != UserauthRequest.number:
            return None
        login = UserauthRequest.decode(asked)
        if login.method == HOST_BOUND:
            bound = HostBoundFields.decode(login.method_data)
            fields: PublicKeyFields = bound
            host_key: bytes | None = bound.host_key_blob
        elif login.method == PUBLIC_KEY:
            fields, host_key = PublicKeyFields.decode(login.method_data), None
        else:
            return None
    except MalformedPacket:
        return None
    if login.service != SERVICE or not fields.signed or fields.key_blob != request.key_blob:
        return None
    return Login(session_id, login.user, host_key)


def is_file_signature(data: bytes) -> bool:
    """Whether it is what a signature of a file is over (OpenSSH PROTOCOL.sshsig)."""
    try:
        cursor = Cursor(data)
        if cursor.take(min(len(_FILE_MAGIC), cursor.remaining())) != _FILE_MAGIC:
            return False
        namespace = cursor.string()
        cursor.string()  # reserved
        hash_name = cursor.string()
        cursor.string()  # the hash
        cursor.end("a file's signature")
    except MalformedPacket:
        return False
    return bool(namespace) and hash_name in _FILE_HASHES
