# SPDX-License-Identifier: MIT
"""What the authentication protocol tells its caller: events of both sides."""

from tellin.wire import Record


class AuthenticationRefused(Record):
    """The server said no; with ``partial`` it said: right so far, continue with one of ``allowed``."""

    allowed: tuple[str, ...]
    partial: bool


class KeyAccepted(Record):
    """The server would take a signature by this key: the answer to a try without one."""

    key_blob: bytes
    algorithm: str


class SignatureWanted(Record):
    """``data`` is to be signed by the key; the answer is ``give_signature`` with a blob, or None."""

    key_blob: bytes
    algorithm: str
    data: bytes


class QuestionsAsked(Record):
    """The server asks; each prompt is a text and whether the answer may be seen while typed.

    The texts are the server's: escape them (``tellin.userauth.text``) before showing them. No
    prompts at all is legal, and answered with no answers.
    """

    name: str
    instruction: str
    prompts: tuple[tuple[str, bool], ...]


class PasswordChangeAsked(Record):
    """The password has run out: the answer is ``try_password`` with a new one."""

    prompt: str


class Banner(Record):
    """The server's text, at most 8 KiB of it, not yet escaped."""

    text: str


class Authenticated(Record):
    """The user is in, by ``method``."""

    user: str
    method: str


class AuthenticationAsked(Record, secret=("payload",)):
    """The client wants in: a payload for the ``Authenticator``, here or in another process."""

    payload: bytes


ClientEvent = (
    AuthenticationRefused
    | KeyAccepted
    | SignatureWanted
    | QuestionsAsked
    | PasswordChangeAsked
    | Banner
    | Authenticated
)
