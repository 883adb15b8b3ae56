# SPDX-License-Identifier: MIT
"""What a harness is: a function that takes any bytes, and fails only where tellin is at fault."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(__file__).parents[2] / "build" / "fuzz"


class Harness:
    """A row: ``run`` returns, whatever the bytes; ``covers`` are the parsers it reaches.

    ``seeds`` are good inputs to start from; what fuzzing found worth keeping is in ``corpus/NAME``.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[bytes], object],
        *,
        covers: Iterable[str],
        seeds: Callable[[], Iterable[bytes]] = tuple,
    ) -> None:
        self.name = name
        self.run = run
        self.covers = tuple(covers)
        self._seeds = seeds

    def __repr__(self) -> str:
        return f"<Harness {self.name}>"

    def kept(self) -> Iterator[Path]:
        """The corpus's files."""
        yield from sorted((CORPUS / self.name).glob("*"))

    def seeds(self) -> list[bytes]:
        """Good inputs, and the kept ones."""
        return [*self._seeds(), *(path.read_bytes() for path in self.kept())]


def write(inputs: Iterable[bytes], folder: Path) -> None:
    """Put inputs into files named after what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)


def on_bytes(
    parse: Callable[[bytes], object], *errors: type[Exception]
) -> Callable[[bytes], None]:
    """A harness for a parser of bytes that lets out ``errors`` and nothing else."""

    def run(data: bytes) -> None:
        with suppress(*errors):
            parse(data)

    return run


def on_text(parse: Callable[[str], object], *errors: type[Exception]) -> Callable[[bytes], None]:
    """The same for a parser of text, which a file's odd bytes reach as surrogates."""

    def run(data: bytes) -> None:
        with suppress(*errors):
            parse(data.decode("utf-8", "surrogateescape"))

    return run


@st.composite
def inputs(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Any bytes; or a seed with pieces changed, cut out, doubled, or taken from another seed."""
    if not seeds or draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at:end] = draw(st.binary(max_size=8))
            case 1:
                del data[at:]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                # A length that lies: the classic.
                data[at : at + 4] = draw(st.sampled_from(LENGTHS))
            case _:
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


LENGTHS = [
    value.to_bytes(4, "big")
    for value in (0, 1, 255, 256, 32768, 35000, 262144, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
]


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut an input into packets: two bytes of length before each, as far as it goes."""
    at = 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big") % 4096
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def joined(packets: Iterable[bytes]) -> bytes:
    """What ``pieces`` cuts into ``packets``."""
    return b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets)


def all_subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for below in kind.__subclasses__():
        yield below
        yield from all_subclasses(below)
