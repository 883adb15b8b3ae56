# SPDX-License-Identifier: MIT
"""``ssh-keygen``: makes keys, shows them, changes their passphrases, comments and formats."""

from collections.abc import Callable, Mapping
from typing import Final

from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.programs.keygen.settings import FATAL, FLAGS, REFUSED, VALUES, Settings

USAGE: Final = """\
usage: ssh-keygen [-q] [-a rounds] [-b bits] [-C comment] [-f output_keyfile]
                  [-m format] [-N new_passphrase] [-O option]
                  [-t ecdsa | ecdsa-sk | ed25519 | ed25519-sk |
                      mldsa44-ed25519 | rsa] [-w provider] [-Z cipher]
       ssh-keygen -p [-a rounds] [-f keyfile] [-m format] [-N new_passphrase]
                   [-P old_passphrase] [-Z cipher]
       ssh-keygen -i [-f input_keyfile] [-m key_format]
       ssh-keygen -e [-f input_keyfile] [-m key_format]
       ssh-keygen -y [-f input_keyfile]
       ssh-keygen -c [-a rounds] [-C comment] [-f keyfile] [-P passphrase]
       ssh-keygen -l [-v] [-E fingerprint_hash] [-f input_keyfile]
       ssh-keygen -B [-f input_keyfile]
       ssh-keygen -D pkcs11
       ssh-keygen -F hostname [-lv] [-f known_hosts_file]
       ssh-keygen -H [-f known_hosts_file]
       ssh-keygen -K [-a rounds] [-w provider]
       ssh-keygen -R hostname [-f known_hosts_file]
       ssh-keygen -r hostname [-g] [-f input_keyfile]
       ssh-keygen -M generate [-O option] output_file
       ssh-keygen -M screen [-f input_file] [-O option] output_file
       ssh-keygen -I certificate_identity -s ca_key [-hU] [-D pkcs11]
                  [-n principals] [-O option] [-V validity_interval] [-z serial_number] file ...
       ssh-keygen -L [-f input_keyfile]
       ssh-keygen -A [-a rounds] [-f prefix_path]
       ssh-keygen -k -f krl_file [-u] [-s ca_public] [-z version_number]
                  file ...
       ssh-keygen -Q [-l] -f krl_file [file ...]
       ssh-keygen -Y find-principals -s signature_file -f allowed_signers_file
       ssh-keygen -Y match-principals -I signer_identity -f allowed_signers_file
       ssh-keygen -Y check-novalidate -n namespace -s signature_file
       ssh-keygen -Y sign -f key_file -n namespace file [-O option] ...
       ssh-keygen -Y verify -f allowed_signers_file -I signer_identity
                  -n namespace -s signature_file [-r krl_file] [-O option]"""


def _generate_host_keys(settings: Settings) -> int:
    from tellin.programs.keygen import make as keygen_make

    return keygen_make.host_keys(settings)


def _show_fingerprint(settings: Settings) -> int:
    from tellin.programs.keygen import show as keygen_show

    return keygen_show.fingerprints(settings)


def _change_passphrase(settings: Settings) -> int:
    from tellin.programs.keygen import make as keygen_make

    return keygen_make.change_passphrase(settings)


def _change_comment(settings: Settings) -> int:
    from tellin.programs.keygen import make as keygen_make

    return keygen_make.change_comment(settings)


def _export(settings: Settings) -> int:
    from tellin.programs.keygen import show as keygen_show

    return keygen_show.export(settings)


def _import(settings: Settings) -> int:
    from tellin.programs.keygen import show as keygen_show

    return keygen_show.import_(settings)


def _show_public(settings: Settings) -> int:
    from tellin.programs.keygen import show as keygen_show

    return keygen_show.public_key(settings)


def _sign_file(settings: Settings, files: list[str]) -> int:
    from tellin.programs.keygen import sign as keygen_sign

    operation = settings.operation or ""
    if not keygen_sign.knows(operation):
        raise _misused(f'Unsupported operation for -Y: "{operation}"')
    return keygen_sign.run(settings, files)


def _make_revocations(settings: Settings, files: list[str]) -> int:
    from tellin.programs.keygen import revoke as keygen_revoke

    return keygen_revoke.generate(settings, files)


def _ask_revocations(settings: Settings, files: list[str]) -> int:
    from tellin.programs.keygen import revoke as keygen_revoke

    return keygen_revoke.query(settings, files)


def _moduli(settings: Settings, files: list[str]) -> int:
    from tellin.programs.keygen import moduli as keygen_moduli

    return keygen_moduli.run(settings, files)


def _certify(settings: Settings, files: list[str]) -> int:
    from tellin.programs.keygen import certify as keygen_certify

    return keygen_certify.sign(settings, files)


def _show_certificate(settings: Settings) -> int:
    from tellin.programs.keygen import certify as keygen_certify

    return keygen_certify.show(settings)


def _known_hosts(settings: Settings) -> int:
    from tellin.programs.keygen import hosts as keygen_hosts

    return keygen_hosts.run(settings)


def _module_keys(settings: Settings) -> int:
    from tellin.programs.keygen import tokens as keygen_tokens

    return keygen_tokens.module_keys(settings)


def _download(settings: Settings) -> int:
    from tellin.programs.keygen import make as keygen_make

    return keygen_make.download(settings)


def _records(settings: Settings) -> int:
    from tellin.programs.keygen import records as keygen_records

    return keygen_records.run(settings)


# Modes that take files behind the options. The first of these, and then of those below, that was
# asked for is done, as OpenSSH does it.
_FILE_MODES: Final[Mapping[str, Callable[[Settings, list[str]], int]]] = {
    "Y": _sign_file,
    "k": _make_revocations,
    "Q": _ask_revocations,
    "M": _moduli,
}
_MODES: Final[Mapping[str, Callable[[Settings], int]]] = {
    "L": _show_certificate,
    "F": _known_hosts,
    "H": _known_hosts,
    "R": _known_hosts,
    "D": _module_keys,
    "K": _download,
    "l": _show_fingerprint,
    "B": _show_fingerprint,
    "p": _change_passphrase,
    "c": _change_comment,
    "e": _export,
    "i": _import,
    "y": _show_public,
    "r": _records,
    "A": _generate_host_keys,
}

_PLAIN: Final = "".join(letter for letter in (*_FILE_MODES, *_MODES) if letter not in VALUES)
_ACCEPTED: Final = "".join([_PLAIN, *FLAGS, *(f"{letter}:" for letter in VALUES)])


def _misused(why: str) -> Failure:
    return Failure(why, usage=USAGE, status=REFUSED)


def run(arguments: list[str]) -> int:
    """Read the command line and do what it asks for; without a mode, make a key."""
    settings = Settings()
    options = Options(arguments, _ACCEPTED)
    try:
        for letter, value in options:
            if letter in _PLAIN:
                settings.modes.add(letter)
            else:
                (VALUES.get(letter) or FLAGS[letter])(settings, value)
    except OptionError as error:
        raise _misused(str(error)) from None
    for letter, do in _FILE_MODES.items():
        if letter in settings.modes:
            return do(settings, options.rest)
    if settings.signer is not None:
        if not options.rest:
            raise _misused("Too few arguments.")
        return _certify(settings, options.rest)
    if options.rest:
        raise _misused("Too many arguments.")
    return _alone(settings)


def _alone(settings: Settings) -> int:
    """The modes that take no files."""
    if {"p", "c"} <= settings.modes:
        raise _misused("Can only have one of -p and -c.")
    if "l" in settings.modes and settings.modes & {"H", "R"}:
        raise _misused("Cannot use -l with -H or -R.")
    for letter, do in _MODES.items():
        if letter in settings.modes:
            return do(settings)
    return _make(settings)


def _make(settings: Settings) -> int:
    stretched = None
    if settings.new_passphrase and settings.format is None:
        # By far the longest part: it goes on while the rest is loaded.
        from tellin.programs.keygen import ahead

        if settings.cipher == ahead.CIPHER:
            rounds = settings.rounds or ahead.ROUNDS
            stretched = ahead.stretching(settings.new_passphrase, rounds)
    from tellin.programs.keygen import make as keygen_make

    return keygen_make.make(settings, stretched)


PROGRAM: Final = Program(
    "ssh-keygen", "make, show and change keys", run, failure=FATAL, options=_ACCEPTED
)
