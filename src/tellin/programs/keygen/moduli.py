# SPDX-License-Identifier: MIT
"""ssh-keygen's groups for Diffie-Hellman group exchange: candidates made, and screened (moduli(5))."""

# pathlib: see keygen_files.
# ruff: noqa: PTH108, PTH123

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, TextIO

from tellin.algorithms.safe_primes import candidates, generator_of, is_prime
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen.asking import quoted
from tellin.programs.keygen.settings import FATAL, Settings
from tellin.wire import Record

_LEAST_BITS: Final = 512
_MOST_BITS: Final = 65536
_DEFAULT_BITS: Final = 3072
_LEAST_TESTS: Final = 4
_DEFAULT_TESTS: Final = 100
_SAVED_EVERY: Final = 60.0  # seconds between two checkpoints
# Columns of moduli(5).
_SAFE, _SOPHIE_GERMAIN = 2, 4
_SIEVED, _TESTED = 0x02, 0x04


class _Wishes:
    """What -O say."""

    def __init__(self, words: list[str], allowed: frozenset[str], doing: str) -> None:
        self._given: dict[str, str] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or name not in allowed:
                raise Failure(
                    f'Option "{visible(word)}" is unsupported for moduli {doing}', status=FATAL
                )
            self._given[name] = value

    def text(self, name: str) -> str | None:
        """A value as it was written."""
        return self._given.get(name)

    def number(self, name: str, default: int, *, base: int = 10) -> int:
        """A value that is a number."""
        text = self._given.get(name)
        if text is None:
            return default
        try:
            found = int(text, base) if len(text) < (_MOST_BITS if base == 16 else 20) else -1
        except ValueError:
            found = -1
        if found < 0:
            raise Failure(f"Invalid number: {visible(text[:40])} (invalid)", status=FATAL)
        return found


def run(settings: Settings, files: list[str]) -> int:
    """Make candidates into a file, or screen those of -f into one."""
    operation = settings.operation or ""
    if operation not in {"generate", "screen"}:
        raise Failure(f"Unsupported moduli option {visible(operation)}", status=FATAL)
    if not files:
        raise Failure("No output file specified", status=FATAL)
    if len(files) > 1:
        raise Failure("Too many output files specified", status=FATAL)
    return (_generate if operation == "generate" else _screen)(settings, files[0])


def _say(text: str) -> None:
    say_error(f"{time.ctime()} {text}")


# Candidates


def _generate(settings: Settings, path: str) -> int:
    wishes = _Wishes(
        settings.options, frozenset({"start", "bits", "lines", "memory"}), "generation"
    )
    bits = wishes.number("bits", settings.bits or _DEFAULT_BITS)
    if bits > _MOST_BITS:
        say_error(f"Too many bits: {bits} > {_MOST_BITS}")
        raise Failure("modulus candidate generation failed", status=FATAL)
    if bits < _LEAST_BITS:
        say_error(f"Too few bits: {bits} < {_LEAST_BITS}")
        raise Failure("modulus candidate generation failed", status=FATAL)
    start = wishes.number("start", 0, base=16) if wishes.text("start") else 0
    # As many as a screening needs to find some of the primes among: about ten a bit.
    most = wishes.number("lines", 10 * bits)
    first = start or (1 << bits - 2 | secrets.randbits(bits - 2))
    if first.bit_length() != bits - 1:
        raise Failure("Invalid start point.", status=FATAL)
    began = time.monotonic()
    _say(f"Sieve of numbers of {bits - 1} bits")
    count = 0
    with _opened(path) as out:
        for q in candidates(first):
            if count == most or q.bit_length() != bits - 1:
                break
            _write(out, _Row(_SOPHIE_GERMAIN, _SIEVED, 0, bits - 2, 0, q))
            count += 1
    _say(f"Found {count} candidates in {time.monotonic() - began:.0f} seconds")
    return 0


# Screening


class _Row(Record):
    """One line, but for its time."""

    kind: int
    tests: int
    tries: int
    size: int
    generator: int
    number: int


def _write(out: TextIO, row: _Row) -> None:
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    out.write(
        f"{stamp} {row.kind} {row.tests} {row.tries} {row.size} {row.generator:x} {row.number:X}\n"
    )
    out.flush()


def _read(text: TextIO) -> Iterator[tuple[int, _Row | None]]:
    """The lines of a file by number; None for one that is none."""
    for number, line in enumerate(text, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        row = None
        # The longest has 65536 bits.
        if len(words) == 7 and len(words[6]) <= _MOST_BITS // 4:
            with suppress(ValueError):
                kind, tests, tries, size = (int(word) for word in words[1:5] if len(word) < 12)
                row = _Row(kind, tests, tries, size, int(words[5], 16), int(words[6], 16))
        yield number, row


class _Screening:
    """Tests the candidates of one file."""

    def __init__(self, wishes: _Wishes) -> None:
        self.trials = wishes.number("prime-tests", _DEFAULT_TESTS)
        self.generator = wishes.number("generator", 0)
        self.checkpoint = wishes.text("checkpoint")
        self.first = wishes.number("start-line", 0)
        self.most = wishes.number("lines", 0)
        self.seen = self.found = 0
        self._saved = time.monotonic()

    def run(self, text: TextIO, out: TextIO) -> None:
        """Go through the lines that are wanted and not done yet."""
        done = self._resume()
        for number, row in _read(text):
            if number <= max(done, self.first - 1):
                continue
            if self.most and number >= max(self.first, 1) + self.most:
                break
            if row is not None:
                tested = self.test(row)
                if tested is not None:
                    self.found += 1
                    _write(out, tested)
            self._save(number)
        if self.checkpoint is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.checkpoint)

    def test(self, row: _Row) -> _Row | None:
        """The line of a safe prime, if that is what a candidate is."""
        sophie_germain = row.kind == _SOPHIE_GERMAIN
        q = row.number if sophie_germain else row.number >> 1
        p = 2 * q + 1 if sophie_germain else row.number
        size = row.size + 1 if sophie_germain else row.size
        generator = 0 if sophie_germain else row.generator
        # The size is the place of the highest bit, so one less than there are.
        if p.bit_length() != size + 1 or size + 1 < _LEAST_BITS:
            return None
        generator = generator or generator_of(p)
        if not generator or (self.generator and generator != self.generator):
            return None
        self.seen += 1
        below = secrets.randbelow
        # One look at each first: nearly all numbers fall at it.
        for rounds in (1, self.trials - 1):
            if not is_prime(q, rounds=rounds, below=below):
                return None
            if not is_prime(p, rounds=rounds, below=below):
                return None
        tries = self.trials + (row.tries if row.tests & _TESTED else 0)
        return _Row(_SAFE, row.tests | _TESTED, tries, p.bit_length() - 1, generator, p)

    def _resume(self) -> int:
        if self.checkpoint is None:
            return 0
        try:
            with open(self.checkpoint, encoding="ascii") as file:
                return int(file.read(20))
        except (OSError, ValueError):
            return 0

    def _save(self, number: int) -> None:
        if self.checkpoint is None or time.monotonic() < self._saved + _SAVED_EVERY:
            return
        from tellin.programs.keygen import files as keygen_files

        keygen_files.write(self.checkpoint, f"{number}\n".encode(), mode=0o644, replace=True)
        self._saved = time.monotonic()


_SCREENING: Final = frozenset({"lines", "start-line", "checkpoint", "generator", "prime-tests"})


def _screen(settings: Settings, path: str) -> int:
    work = _Screening(_Wishes(settings.options, _SCREENING, "screening"))
    if work.trials < _LEAST_TESTS:
        say_error(f"Minimum primality trials is {_LEAST_TESTS}")
        raise Failure("modulus screening failed", status=FATAL)
    began = time.monotonic()
    with _opened(path, more=work.checkpoint is not None) as out:
        if settings.file in {None, "-"}:
            work.run(sys.stdin, out)
        else:
            with _candidates(settings.file or "") as text:
                work.run(text, out)
    _say(
        f"Found {work.found} safe primes of {work.seen} candidates"
        f" in {time.monotonic() - began:.0f} seconds"
    )
    return 0


def _candidates(path: str) -> TextIO:
    try:
        return open(path, encoding="ascii", errors="replace")
    except OSError as error:
        raise Failure(
            f"Couldn't open modulus candidate file {quoted(path)}: {error.strerror}",
            status=FATAL,
        ) from None


def _opened(path: str, *, more: bool = False) -> TextIO:
    """The output file; ``more``: what is in it stays, for a screening that goes on where it was."""
    try:
        return open(path, "a" if more else "w", encoding="ascii")
    except OSError as error:
        raise Failure(
            f"Couldn't open moduli file {quoted(path)}: {error.strerror}", status=FATAL
        ) from None
