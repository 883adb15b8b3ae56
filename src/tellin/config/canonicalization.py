# SPDX-License-Identifier: MIT
"""CanonicalizeHostname: from the name that somebody typed to the one that the files speak of."""

from tellin.config.patterns import canonical_address, match_pattern_list
from tellin.config.ssh_config import SshConfig
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError


def canonical_host(host: str, config: SshConfig, surroundings: Surroundings) -> str:
    """The full name of ``host``, in lower case, as ssh_config(5) says to find it.

    ``config`` holds the values of the first pass. Without CanonicalizeHostname, behind a proxy
    (unless it says always), for addresses and for names with more dots than CanonicalizeMaxDots it
    is ``host`` itself. Raises ConfigError if none of CanonicalDomains has it and the system's
    resolver must not be asked instead.
    """
    wanted = config.canonicalize_hostname
    direct = config.proxy_command is None and config.proxy_jump is None
    if wanted == "no" or (wanted != "always" and not direct):
        return host
    address = canonical_address(host)
    if address:
        return address
    anchored = host.endswith(".")
    if not anchored and host.count(".") > config.canonicalize_max_dots:
        return _followed(host, config, surroundings)
    # A dot at the end says that this is the whole name.
    names = [host] if anchored else [f"{host}.{domain}" for domain in config.canonical_domains]
    for name in names:
        if surroundings.canonical_name(name) is not None:
            return _followed(name.removesuffix("."), config, surroundings)
    if not config.canonicalize_fallback_local:
        file, line = config.origin("canonicalize_fallback_local")
        raise ConfigError(
            f"Could not resolve host {host[:80]!a} in {', '.join(config.canonical_domains) or 'no domain'}",
            file=file,
            line=line,
            hint="CanonicalizeFallbackLocal no leaves no other way to find it",
        )
    return _followed(host, config, surroundings)


def _followed(host: str, config: SshConfig, surroundings: Surroundings) -> str:
    """Where a CNAME leads, if CanonicalizePermittedCNAMEs lets it lead there."""
    if not config.canonicalize_permitted_cnames:
        return host
    end = (surroundings.canonical_name(host) or host).removesuffix(".").lower()
    for sources, targets in config.canonicalize_permitted_cnames:
        if match_pattern_list(host, sources) and match_pattern_list(end, targets):
            return end
    return host
