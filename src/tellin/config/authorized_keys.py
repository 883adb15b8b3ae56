# SPDX-License-Identifier: MIT
"""authorized_keys: whose keys may log in, and with which options (sshd(8))."""

import re
from typing import Final

from tellin.config.key_options import KeyOptions, read_options, split_options
from tellin.config.known_hosts import decode_key
from tellin.errors import ConfigError
from tellin.keys.public import PublicKey

# R109: a longer line is skipped whole, never read in pieces.
_LONGEST_LINE: Final = 65536

# R108: space and tab part the fields, and nothing else that Unicode calls a space.
_KEY: Final = re.compile(r"([^ \t]+)[ \t]+([^ \t]+)(?:[ \t]+(.*))?", re.DOTALL)


class AuthorizedKey:
    """One good line."""

    __slots__ = ("blob", "comment", "file", "key_type", "line", "options")

    def __init__(self, blob: bytes, options: KeyOptions, *, key_type: str, comment: str) -> None:
        self.blob = blob
        self.options = options
        self.key_type = key_type
        self.comment = comment
        self.file = ""
        self.line = 0

    @property
    def where(self) -> str:
        """``file:line``, as log lines about the key print it."""
        return f"{self.file}:{self.line}"

    def __repr__(self) -> str:
        return f"<{self.key_type} key at {self.where} {self.options!r}>"


class AuthorizedKeys:
    """The good lines of a file, in order; ``warnings`` says why the others are none.

    ``add`` and ``remove`` change it line by line: ``text`` is the file with every other line, good or
    not, as it was. Read and written by `tellin.runtime.files.update_text` it loses no line to another
    process.
    """

    def __init__(self, text: str = "", *, file: str = "authorized_keys") -> None:
        self.text = text
        """The whole file."""
        self.file = file
        self.keys: tuple[AuthorizedKey, ...] = ()
        self.warnings: list[str] = []
        self._read()

    @classmethod
    def parse(cls, text: str, *, file: str = "authorized_keys") -> "AuthorizedKeys":
        """Read a whole file; a line that is not understood in full lets nobody in."""
        return cls(text, file=file)

    def add(self, key: PublicKey, *, options: str = "", comment: str | None = None) -> bool:
        """Put a key behind the others, and say so; one that is there, with whatever options, stays alone.

        ``options`` stand as in the file, such as ``restrict,command="uptime"``. Raises ConfigError
        for what would not be read back as this one line.
        """
        authority = bool(options) and read_options(options).cert_authority
        if self._first(key.blob, authority=authority) is not None:
            return False
        note = key.comment if comment is None else comment
        words = (options, key.with_comment("").to_line(), note)
        line = " ".join(word for word in words if word)
        # A comment is often somebody else's text: a break in it would begin a line of its own.
        if any(sign in line for sign in "\n\r\0"):
            raise ConfigError("a line break or a NUL in a line of authorized_keys")
        read_key(line)  # what is not read back, being too long, is not written
        end = "\n" if self.text and not self.text.endswith("\n") else ""
        self.text += f"{end}{line}\n"
        self._read()
        return True

    def remove(self, key: PublicKey) -> int:
        """Take out every line that lets a key in, or trusts it as an authority; how many there were."""
        gone = {found.line for found in self.keys if found.blob == key.blob}
        lines = enumerate(self.text.split("\n"), 1)
        self.text = "\n".join(line for number, line in lines if number not in gone)
        self._read()
        return len(gone)

    def _read(self) -> None:
        text, file = self.text, self.file
        keys: list[AuthorizedKey] = []
        warnings: list[str] = []
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(" \t\r")
            if not line or line.startswith("#"):
                continue
            try:
                key = read_key(line)
            except ConfigError as fault:
                warnings.append(f"{file}:{number}: {fault}")
                continue
            key.file, key.line = file, number
            keys.append(key)
        self.keys, self.warnings = tuple(keys), warnings

    def find(self, key_blob: bytes) -> AuthorizedKey | None:
        """The first line of a key that may log in; a line for an authority is none (case 318)."""
        return self._first(key_blob, authority=False)

    def find_authority(self, key_blob: bytes) -> AuthorizedKey | None:
        """The first line that trusts a key to sign certificates."""
        return self._first(key_blob, authority=True)

    def _first(self, key_blob: bytes, *, authority: bool) -> AuthorizedKey | None:
        found = [
            key
            for key in self.keys
            if key.blob == key_blob and key.options.cert_authority is authority
        ]
        for other in found[1:]:
            if other.options != found[0].options:
                note = f"{other.where}: the key stands at {found[0].where} with other options"
                if note not in self.warnings:
                    self.warnings.append(note)
        return found[0] if found else None


def read_key(line: str) -> AuthorizedKey:
    """One line without its end: ``[options] type base64 [comment]``; raises ConfigError."""
    if len(line) > _LONGEST_LINE:
        raise ConfigError(f"a line of {len(line)} characters is skipped")
    if "\0" in line:
        raise ConfigError("a NUL character in the line")
    # Options and a key type may look alike; only a blob that names the same type itself makes the
    # first word a type. So "restrict AAAA..." can never pass for a key without options (R107).
    try:
        return _plain_key(line, KeyOptions())
    except ConfigError as as_key:
        text, rest = split_options(line)
        if not rest:
            raise
        try:
            options = read_options(text)
        except ConfigError as as_options:
            raise (as_key if _KEY_TYPE.fullmatch(text) else as_options) from None
        return _plain_key(rest, options)


# Words that can only be meant as a key type: the better message for a broken key.
_KEY_TYPE: Final = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa|webauthn)-[a-z0-9@.-]+")


def _plain_key(text: str, options: KeyOptions) -> AuthorizedKey:
    found = _KEY.fullmatch(text)
    if found is None:
        raise ConfigError("a key type and a key are needed")
    type_word, base64, comment = found.groups()
    blob = decode_key(type_word, base64)
    return AuthorizedKey(blob, options, key_type=type_word, comment=comment or "")
