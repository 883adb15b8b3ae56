# SPDX-License-Identifier: MIT
"""How a helper process serves: requests and answers through the socket that is its standard input."""

import _socket
import os
import resource
import stat
from collections.abc import Callable, Mapping
from typing import Any, Final

from tellin.agent.messages import Frames, framed
from tellin.agent.tokens import MOST_HELPER_BYTES, REQUESTS, Reason, Refused, TokenError
from tellin.errors import KeyFileError, MalformedPacket
from tellin.programs.command import Failure
from tellin.runtime.privileges import refuse_inspection
from tellin.runtime.sockets import Socket
from tellin.wire import Message

_READ: Final = 64 * 1024

Handlers = Mapping[type[Message], Callable[[Any], Message]]


def serve(handlers: Handlers) -> int:
    """Answer until whoever started us hangs up; what is not in ``handlers`` is refused."""
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        raise Failure(
            "this program is started by ssh, ssh-agent, ssh-add and ssh-keygen", status=1
        )
    # A PIN comes through here: no core file, and no other process looks in.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    refuse_inspection()
    stream = Socket(fileno=os.dup(0))
    # A module that prints must not print into the conversation.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    stream.setblocking(True)
    frames = Frames(most=MOST_HELPER_BYTES)
    while data := stream.recv(_READ):
        frames.feed(data)
        for frame in frames:
            stream.sendall(framed(answer(handlers, frame)))
    stream.shutdown(_socket.SHUT_RDWR)
    return 0


def answer(handlers: Handlers, frame: bytes) -> Message:
    """The answer to one request; whatever goes wrong is an answer too."""
    kind = REQUESTS.get(frame[0])
    handler = None if kind is None else handlers.get(kind)
    if kind is None or handler is None:
        return Refused(Reason.FAILED, "a request that this helper does not know", "")
    try:
        return handler(kind.decode(frame))
    except TokenError as error:
        return Refused(error.reason, str(error), error.hint)
    except (MalformedPacket, KeyFileError) as error:
        return Refused(Reason.FAILED, str(error), "")
    except Exception as error:  # the library's, or a module's through it: it must not end us
        words = str(error) or type(error).__name__
        return Refused(Reason.FAILED, words.encode("utf-8", "replace").decode(), "")
