# SPDX-License-Identifier: MIT
"""What lets keys in besides the users' own files: the system's authorities, and commands that are asked.

It blocks as `tellin.server.authentication.access` does: on the disk, on the name service, and on those commands.
"""

from tellin.config.authorized_keys import AuthorizedKey
from tellin.config.key_options import KeyOptions
from tellin.config.principals import Principal, Principals
from tellin.errors import CertificateRejected, ConfigError, KeyFileError
from tellin.keys.certificates import Certificate
from tellin.keys.public import PublicKey
from tellin.runtime.files import read_text
from tellin.runtime.privileges import Account
from tellin.server.authentication.access import (
    MAXIMUM_KEY_FILE,
    AccessRefused,
    AccountAccess,
    Helper,
    Visitor,
    file_of,
    filesystem_identity,
    read_guarded,
)
from tellin.server.authentication.certificates import accepted
from tellin.userauth.questions import Shown


class SystemAccess(AccountAccess):
    """``AccountAccess`` with all that sshd_config can name: first the files, then authorities, then commands."""

    def _authorize_otherwise(
        self, account: Account, user: str, key: Shown, visitor: Visitor
    ) -> AuthorizedKey | None:
        if isinstance(key, Certificate):
            line = self._authorize_by_authority(account, user, key, visitor)
            if line is not None:
                return line
        if self.rules.keys_command is None:
            return None
        text, name = self._ask(self.rules.keys_command, account, user, key, visitor)
        return self._authorize_in(text, name, account, key, visitor)

    def _authorize_by_authority(
        self, account: Account, user: str, certificate: Certificate, visitor: Visitor
    ) -> AuthorizedKey | None:
        """What TrustedUserCAKeys says: a principal is the user's own name, or one that is listed."""
        path = self.rules.authorities_file
        if path is None or not self._is_trusted(certificate.authority, path):
            return None
        named = self._principal(account, user, certificate, visitor)
        options = KeyOptions()
        if named is not None:
            refusal = self.line_refusal(named.options, visitor)
            if refusal is not None:
                raise AccessRefused(f"{named.where}: principal {named.name} {refusal}")
            options = named.options
        authority = certificate.authority
        line = AuthorizedKey(
            authority.blob,
            self._permitted(
                certificate, options, visitor, names=(account.name,) if named is None else None
            ),
            key_type=authority.key_type,
            comment=authority.comment,
        )
        line.file = path
        self.notes.append(accepted(certificate, f"via {path}"))
        return line

    def _is_trusted(self, authority: PublicKey, path: str) -> bool:
        try:
            text = read_text(path, limit=MAXIMUM_KEY_FILE)
        except (OSError, ConfigError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise AccessRefused(f"could not open authorities '{path}': {cause}") from None
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(" \t\r")
            if not line or line.startswith("#"):
                continue
            try:
                if PublicKey.from_line(line) == authority:
                    return True
            except KeyFileError as fault:
                self.notes.append(f"{path}:{number}: {fault}")
        return False

    def _principal(
        self, account: Account, user: str, certificate: Certificate, visitor: Visitor
    ) -> Principal | None:
        """The line for one of the principals; None where the user's own name is what counts."""
        rules = self.rules
        found = None
        if rules.principals_file is not None:
            path = file_of(rules.principals_file, account, user)
            try:
                with filesystem_identity(account):
                    text = read_guarded(path, account, strict=rules.strict_modes)
            except AccessRefused as refused:
                self.notes.append(f"Authentication refused: {refused}")
                text = None
            found = self._named(certificate, text or "", path)
        if found is None and rules.principals_command is not None:
            text, name = self._ask(rules.principals_command, account, user, certificate, visitor)
            found = self._named(certificate, text, name)
        listed = rules.principals_file is not None or rules.principals_command is not None
        if found is None and listed:
            raise CertificateRejected("Certificate does not contain an authorized principal")
        return found

    def _named(self, certificate: Certificate, text: str, path: str) -> Principal | None:
        principals = Principals.parse(text, file=path)
        self.notes += principals.warnings
        return principals.find(certificate.principals)

    def _ask(
        self, helper: Helper, account: Account, user: str, key: Shown, visitor: Visitor
    ) -> tuple[str, str]:
        """What a command says of a key, and the command's name; nothing where it failed."""
        # Few servers have one.
        from tellin.server.authentication.commands import HelperFailed, ask, command_tokens  # noqa: PLC0415

        path = helper.line.split(None, 1)[0]
        try:
            return ask(helper, command_tokens(account, user, key, visitor.ends)), path
        except HelperFailed as failed:
            self.notes.append(str(failed))
            return "", path
