# SPDX-License-Identifier: MIT
"""What a server's list of its host keys means for known_hosts (ssh_config(5), UpdateHostKeys).

Text in, text out. Whatever is not plainly the record of this one host is left alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from tellin.config.known_hosts import Entry, KnownHosts, Marker, hash_name, make_line
from tellin.wire import Cursor, Record


class HostRecord(Record):
    """What is on record for a host: which of the offered keys, under which names, and which others.

    ``obstacle`` says why nothing may be changed, if there is a reason.
    """

    known: Mapping[bytes, Collection[str]]
    old: tuple[Entry, ...]
    obstacle: str

    def new(self, offered: Sequence[bytes]) -> tuple[bytes, ...]:
        """The offered keys that are not on record at all."""
        return tuple(blob for blob in offered if blob not in self.known)


def survey(known: KnownHosts, names: Sequence[str], offered: Sequence[bytes]) -> HostRecord:
    """Look up all that is on record for a host whose names are ``names``: its own, then its address."""
    blobs = frozenset(offered)
    found: dict[bytes, set[str]] = {}
    old: list[Entry] = []
    obstacle = ""
    for entry in known.select(names, blobs):
        fitting = [name for name in names if entry.is_for(name)]
        if not fitting:
            # The same machine under another name: to change one record would tear them apart.
            obstacle = obstacle or f"{entry.where} has the key under another name"
        elif entry.marker is not Marker.NONE:
            obstacle = obstacle or f"{entry.where} has a marker"
        elif _is_complex(entry.names):
            obstacle = obstacle or f"{entry.where} is for more than one host"
        elif "," in entry.names and len(names) > len(fitting):
            obstacle = obstacle or f"{entry.where} has another address or name beside this one"
        elif entry.blob in blobs:
            found.setdefault(entry.blob, set()).update(fitting)
        else:
            old.append(entry)
    if old and not obstacle:
        obstacle = _elsewhere(known, names, frozenset(entry.blob for entry in old))
    return HostRecord(found, tuple(old), obstacle)


def _elsewhere(known: KnownHosts, names: Sequence[str], blobs: Collection[bytes]) -> str:
    """Where keys that would be forgotten stand for others, or an empty text."""
    for entry in known.select((), blobs):
        if entry.marker is Marker.NONE and not any(entry.is_for(name) for name in names):
            return f"{entry.where} has a key that the server no longer offers, under another name"
    return ""


def _is_complex(hosts: str) -> bool:
    """Whether somebody wrote these names by hand: a program writes one, or one and its address."""
    return any(sign in hosts for sign in "*?!") or hosts.count(",") > 1


def updated(
    text: str,
    names: Sequence[str],
    keep: Collection[bytes],
    learn: Sequence[bytes] = (),
    *,
    salt: Callable[[], bytes] | None = None,
) -> str:
    """``text`` without the host's keys that are not in ``keep``, and with those of ``learn``.

    Marked lines, lines of others and lines that are none stay to the letter. ``salt`` gives 20 fresh
    bytes where new names are to be hashed.
    """
    here = KnownHosts.parse(text).select(names, ())
    plain = [entry for entry in here if entry.marker is Marker.NONE]
    gone = {entry.line for entry in plain if entry.blob not in keep}
    made = [line for number, line in enumerate(text.split("\n"), 1) if number not in gone]
    made = made or [""]
    for blob in learn:
        stands = [entry for entry in plain if entry.blob == blob]
        missing = [name for name in names if not any(entry.is_for(name) for entry in stands)]
        for line in _lines(blob, missing, salt):
            # Behind the last line, whose end may be missing.
            made[-1:] = [line, ""] if not made[-1] else [made[-1], line, ""]
    return "\n".join(made)


def _lines(blob: bytes, names: Sequence[str], salt: Callable[[], bytes] | None) -> Sequence[str]:
    key_type = Cursor(blob).text()
    if not names:
        return ()
    if salt is None:
        return (make_line(names, key_type, blob),)
    # A hash stands for one name.
    return tuple(make_line(hash_name(name, salt=salt()), key_type, blob) for name in names)
