# SPDX-License-Identifier: MIT
"""``ssh-keygen``: makes keys, shows them, changes their passphrases, comments and formats."""

from collections.abc import Callable, Mapping
from typing import Final

from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.programs.keygen_settings import FATAL, FLAGS, REFUSED, VALUES, Settings

USAGE: Final = """\
usage: ssh-keygen [-q] [-a rounds] [-b bits] [-C comment] [-f output_keyfile]
                  [-m format] [-N new_passphrase] [-t ecdsa | ed25519 | rsa]
                  [-Z cipher]
       ssh-keygen -p [-a rounds] [-f keyfile] [-m format] [-N new_passphrase]
                   [-P old_passphrase] [-Z cipher]
       ssh-keygen -i [-f input_keyfile] [-m key_format]
       ssh-keygen -e [-f input_keyfile] [-m key_format]
       ssh-keygen -y [-f input_keyfile]
       ssh-keygen -c [-a rounds] [-C comment] [-f keyfile] [-P passphrase]
       ssh-keygen -l [-v] [-E fingerprint_hash] [-f input_keyfile]
       ssh-keygen -B [-f input_keyfile]
       ssh-keygen -A [-a rounds] [-f prefix_path]"""


def _generate_host_keys(settings: Settings) -> int:
    from tellin.programs import keygen_make

    return keygen_make.host_keys(settings)


def _show_fingerprint(settings: Settings) -> int:
    from tellin.programs import keygen_show

    return keygen_show.fingerprints(settings)


def _change_passphrase(settings: Settings) -> int:
    from tellin.programs import keygen_make

    return keygen_make.change_passphrase(settings)


def _change_comment(settings: Settings) -> int:
    from tellin.programs import keygen_make

    return keygen_make.change_comment(settings)


def _export(settings: Settings) -> int:
    from tellin.programs import keygen_show

    return keygen_show.export(settings)


def _import(settings: Settings) -> int:
    from tellin.programs import keygen_show

    return keygen_show.import_(settings)


def _show_public(settings: Settings) -> int:
    from tellin.programs import keygen_show

    return keygen_show.public_key(settings)


# The first mode of these that was asked for is done, as OpenSSH does it.
_MODES: Final[Mapping[str, Callable[[Settings], int]]] = {
    "A": _generate_host_keys,
    "l": _show_fingerprint,
    "B": _show_fingerprint,
    "p": _change_passphrase,
    "c": _change_comment,
    "e": _export,
    "i": _import,
    "y": _show_public,
}

_ACCEPTED: Final = "".join([*_MODES, *FLAGS, *(f"{letter}:" for letter in VALUES)])


def _misused(why: str) -> Failure:
    return Failure(why, usage=USAGE, status=REFUSED)


def run(arguments: list[str]) -> int:
    """Read the command line and do what it asks for; without a mode, make a key."""
    settings = Settings()
    options = Options(arguments, _ACCEPTED)
    try:
        for letter, value in options:
            if letter in _MODES:
                settings.modes.add(letter)
            else:
                (VALUES.get(letter) or FLAGS[letter])(settings, value)
    except OptionError as error:
        raise _misused(str(error)) from None
    if options.rest:
        raise _misused("Too many arguments.")
    if {"p", "c"} <= settings.modes:
        raise _misused("Can only have one of -p and -c.")
    for letter, do in _MODES.items():
        if letter in settings.modes:
            return do(settings)
    from tellin.programs import keygen_make

    return keygen_make.make(settings)


PROGRAM: Final = Program("ssh-keygen", "make, show and change keys", run, failure=FATAL)
