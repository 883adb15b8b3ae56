# SPDX-License-Identifier: MIT
"""What is put into values when they are used: ``%h``, ``${NAME}`` and ``~``."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from tellin.errors import ConfigError

# Compiled on first use: most files hold neither.
_PLACES: Final = r"(?s)%(.?)|\$\{([^}]*)(\}?)"
_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*"

Tokens = Mapping[str, Callable[[], str]]
"""What each letter after a ``%`` stands for; called only where the letter is used."""


def expand(
    text: str,
    tokens: Tokens,
    *,
    allowed: str,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Put in every ``%x`` whose letter is in ``allowed`` and, given an environment, every ``${NAME}``.

    One pass: what has been put in is not looked at again, so a value cannot smuggle in another
    token. Raises ConfigError for a letter or a variable that is not there.
    """

    def put_in(found: re.Match[str]) -> str:
        letter, name, closed = found.groups()
        if letter is None:
            return found[0] if environment is None else _variable(name, closed, environment)
        if letter == "%":
            return "%"
        if not letter or letter not in allowed or letter not in tokens:
            raise ConfigError(
                f"unknown token {found[0]!a} in {text[:80]!a}",
                hint=f"allowed here: {' '.join('%' + c for c in '%' + allowed.replace('%', ''))}",
            )
        return tokens[letter]()

    if "%" not in text and "${" not in text:
        return text
    return re.sub(_PLACES, put_in, text)


def _variable(name: str, closed: str, environment: Mapping[str, str]) -> str:
    if not closed or not re.fullmatch(_VARIABLE, name):
        raise ConfigError(f"bad environment reference ${{{name[:40]!a}")
    value = environment.get(name)
    if value is None:
        raise ConfigError(
            f"the environment variable {name} is not set", hint=f"set {name} or leave it out"
        )
    return value


def expand_tilde(path: str, home: str, home_of: Callable[[str], str | None]) -> str:
    """``~/x`` and ``~user/x`` as paths; anything else as it is."""
    if not path.startswith("~"):
        return path
    user, slash, rest = path[1:].partition("/")
    found = home_of(user) if user else home
    if not found:
        raise ConfigError(
            f"no home directory of {user[:40]!a}" if user else "no home directory for ~"
        )
    return found + slash + rest
