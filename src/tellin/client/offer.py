# SPDX-License-Identifier: MIT
"""Which algorithms a client offers, from the values of ssh_config.

Apart from `tellin.client.preferences`, since ``ssh`` asks this before it connects: it takes the
tables, and nothing of what they are tables of.
"""

from tellin.algorithms.ciphers import preferred_ciphers
from tellin.algorithms.compression import COMPRESSING, DEFAULT_COMPRESSIONS
from tellin.algorithms.key_exchange import CLIENT_KEY_EXCHANGES
from tellin.algorithms.macs import CLIENT_MACS
from tellin.algorithms.signatures import (
    CA_SIGNATURE_ALGORITHMS,
    HOST_KEY_ALGORITHMS,
    USER_KEY_ALGORITHMS,
    with_certificates,
)
from tellin.config.algorithm_lists import AlgorithmLists, check_known, select
from tellin.config.ssh_config import SshConfig
from tellin.runtime.machine import has_aes


def algorithms(config: SshConfig) -> AlgorithmLists:
    """What to offer; raises ConfigError, with file and line, for an unknown name.

    That also goes for lists in blocks of the file that do not hold for this host.
    """
    check_known(config, config.algorithms_named)
    keys = with_certificates(USER_KEY_ALGORITHMS)
    return select(
        config,
        AlgorithmLists(
            CLIENT_KEY_EXCHANGES,
            with_certificates(HOST_KEY_ALGORITHMS),
            preferred_ciphers(has_aes=has_aes()),
            CLIENT_MACS,
            COMPRESSING if config.compression else DEFAULT_COMPRESSIONS,
            keys,
            CA_SIGNATURE_ALGORITHMS,
            keys,
        ),
        lenient=True,
    )
