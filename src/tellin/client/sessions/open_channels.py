# SPDX-License-Identifier: MIT
"""The channels there are, a line each, in the form that OpenSSH gives them (``~#``, and its logs)."""

from typing import Final

from tellin.connection.channel import Channel, Half, Standing
from tellin.userauth.text import escape_text

# OpenSSH's numbers: of a channel that is being opened, and of one that is open.
_KINDS: Final = {Standing.WANTED: 3, Standing.ASKED: 12, Standing.OPEN: 4}
# Of a direction: open, waiting until its data is written, closed.
_HALVES: Final = {Half.OPEN: 0, Half.EOF: 3, Half.CLOSED: 3}


def describe(channel: Channel) -> str:
    """One channel: what it is, which states its two directions are in, and whose descriptors it has."""
    owner = channel.owner
    kind = channel.channel_type
    title = getattr(owner, "title", "") or f"client-{kind}"
    known = channel.standing is Standing.OPEN
    stream = getattr(owner, "stream", None)
    socket = stream.fileno() if stream is not None else -1
    plan = getattr(owner, "plan", None)
    ends = (plan.stdin, plan.stdout, plan.stderr) if plan is not None else (socket, socket, -1)
    purpose = f"{kind}:{channel.purpose}" if channel.purpose else kind
    return (
        f"#{channel.number} {escape_text(title[:300])}"
        f" (t{_KINDS.get(channel.standing, 5)} [{escape_text(purpose[:80])}]"
        f" {'r' if known else 'nr'}{channel.peer} nm0"
        f" i{_HALVES[channel.sending]}/0 o{_HALVES[channel.receiving]}/{channel.credit}"
        f" e[{'write' if channel.extended_sink is not None else 'closed'}]/0"
        f" fd {'/'.join(map(str, ends))} sock {socket} cc -1 nc0 io 0x00/0x00)"
    )
