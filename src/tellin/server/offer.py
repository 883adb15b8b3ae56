# SPDX-License-Identifier: MIT
"""What every connection of one configuration is served with, whoever it is from."""

import os
from collections.abc import Mapping, Sequence

from tellin.algorithms.key_exchange import Moduli
from tellin.config.sshd_reading import SshdSettings
from tellin.keys.certificates import Certificate
from tellin.keys.private import PrivateKey
from tellin.protocol import Settings
from tellin.runtime.privileges import Account
from tellin.server import settings
from tellin.server.authentication.passwords import SystemPasswords
from tellin.server.warming import warm_up
from tellin.wire import Record


class Offer(Record, secret=("secret",)):
    """A configuration, its keys, and what can be worked out of both before anybody connects."""

    configuration: SshdSettings
    host_keys: Mapping[bytes, PrivateKey]
    core: Settings
    only: Account | None  # the one account that can be served, when we are not root
    secret: bytes
    passwords: SystemPasswords | None = None

    @classmethod
    def of(
        cls,
        configuration: SshdSettings,
        host_keys: list[PrivateKey],
        moduli: Moduli | None,
        certificates: Sequence[Certificate] = (),
    ) -> "Offer":
        """Raises ConfigError where the configuration leaves nothing to offer."""
        return cls(
            configuration,
            settings.signing_keys(host_keys, certificates),
            settings.core_settings(configuration.always, host_keys, moduli, certificates),
            None if os.geteuid() == 0 else Account.numbered(os.geteuid()),
            os.urandom(32),
        )

    def prepare(self) -> None:
        """Do once what every connection's process would have to do for itself."""
        warm_up(self.core, dict(self.host_keys))
        if os.geteuid() == 0:
            # Choosing what to hash for users who do not exist costs a hash.
            self.passwords = SystemPasswords()
