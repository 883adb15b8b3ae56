# SPDX-License-Identifier: MIT
"""CanonicalizeHostname: from the name that somebody typed to the one that the files speak of."""

from tellin.config.patterns import canonical_address, match_pattern_list
from tellin.config.ssh_config import SshConfig
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError


def canonical_host(host: str, config: SshConfig, surroundings: Surroundings) -> str:
    """The full name of ``host``, in lower case, as ssh_config(5) says to find it.

    ``config`` holds the values of the first pass. Behind a proxy (unless CanonicalizeHostname says
    always), for addresses and for names with more dots than CanonicalizeMaxDots it
    is ``host`` itself. Raises ConfigError if none of CanonicalDomains has it and the system's
    resolver must not be asked instead.
    """
    direct = config.proxy_command is None and config.proxy_jump is None
    if not direct and config.canonicalize_hostname != "always":
        return host
    address = canonical_address(host)
    if address:
        return address
    # A dot at the end says that this is the whole name.
    anchored = host.endswith(".")
    if anchored or host.count(".") <= config.canonicalize_max_dots:
        names = [host] if anchored else [f"{host}.{domain}" for domain in config.canonical_domains]
        for name in names:
            target = surroundings.canonical_name(name)
            if target is not None:
                return _followed(name.removesuffix("."), target, config)
        if not config.canonicalize_fallback_local:
            raise _nowhere(host, config)
    # As it is: looked up only where a rule could make something of the answer.
    rules = config.canonicalize_permitted_cnames
    return _followed(host, (rules and surroundings.canonical_name(host)) or host, config)


def _nowhere(host: str, config: SshConfig) -> ConfigError:
    file, line = config.origin("canonicalize_fallback_local")
    tried = ", ".join(config.canonical_domains) or "no domain"
    return ConfigError(
        f"Could not resolve host {host[:80]!a} in {tried}",
        file=file,
        line=line,
        hint="CanonicalizeFallbackLocal no leaves no other way to find it",
    )


def _followed(host: str, target: str, config: SshConfig) -> str:
    """Where a CNAME leads, if CanonicalizePermittedCNAMEs lets it lead there."""
    end = target.removesuffix(".").lower()
    for sources, targets in config.canonicalize_permitted_cnames:
        if match_pattern_list(host, sources) and match_pattern_list(end, targets):
            return end
    return host
