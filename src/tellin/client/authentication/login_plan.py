# SPDX-License-Identifier: MIT
"""Who logs in, and by what."""

from typing import Final

from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD, PUBLIC_KEY
from tellin.wire import Record

DEFAULT_ORDER: Final = (PUBLIC_KEY, KEYBOARD_INTERACTIVE, PASSWORD)


class LoginPlan(Record):
    """What a login is given; without ``key_algorithms`` a key signs by whatever it can."""

    user: str
    host: str  # as messages and prompts name it
    order: tuple[str, ...] = DEFAULT_ORDER
    key_algorithms: tuple[str, ...] = ()
    required_rsa_size: int = 0
    bound: bool = True  # signatures of keys cover the host key, where the server takes that
    devices: tuple[str, ...] = ()  # the kinds of questions to ask the server for
    prompts: int = 3  # how often a password may be asked for
