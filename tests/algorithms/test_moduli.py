# SPDX-License-Identifier: MIT
"""The moduli file: good lines make groups, bad ones are told of, and a group is chosen as asked."""

from pathlib import Path

import pytest

from tellin.algorithms.finite_field import check_group, fixed_prime
from tellin.algorithms.moduli import Moduli
from tellin.errors import KeyExchangeFailed


def line(prime: int, **changes: str) -> str:
    fields = {
        "time": "20220714110357",
        "type": "2",
        "tests": "6",
        "tries": "100",
        "size": str(prime.bit_length() - 1),
        "generator": "2",
        "modulus": f"{prime:X}",
        **changes,
    }
    return " ".join(fields.values())


SMALL, MIDDLE, LARGE = (fixed_prime(bits) for bits in (2048, 4096, 8192))
FILE = Moduli.parse(
    "\n".join(
        [
            "# Time Type Tests Tries Size Generator Modulus",
            "",
            line(SMALL),
            line(SMALL + 2, generator="5"),
            line(MIDDLE),
            "\t" + line(LARGE, generator="A") + "  ",
        ]
    )
)


def test_a_file_is_read() -> None:
    assert FILE.problems == ()
    assert FILE.groups == {
        2048: [(2, SMALL), (5, SMALL + 2)],
        4096: [(2, MIDDLE)],
        8192: [(10, LARGE)],
    }


@pytest.mark.parametrize(
    ("minimum", "preferred", "maximum", "bits"),
    [
        (2048, 2048, 8192, 2048),
        (2048, 3072, 8192, 4096),
        (2048, 4096, 8192, 4096),
        (2048, 8192, 8192, 8192),
        (2048, 9000, 16384, 8192),
        (2048, 3072, 3500, 2048),
        (2048, 1024, 8192, 2048),
        (4096, 1024, 8192, 4096),
        (0, 0, 1 << 32, 2048),
    ],
)
def test_the_size_that_suits_best_is_chosen(
    minimum: int, preferred: int, maximum: int, bits: int
) -> None:
    _, prime = FILE.choose(minimum, preferred, maximum)
    assert prime.bit_length() == bits


def test_among_groups_of_one_size_the_draw_decides() -> None:
    asked = []

    def pick(count: int) -> int:
        asked.append(count)
        return 1

    assert FILE.choose(2048, 2048, 8192, pick) == (5, SMALL + 2)
    assert FILE.choose(2048, 2048, 8192, lambda count: 0) == (2, SMALL)
    assert asked == [2]
    assert {FILE.choose(2048, 2048, 8192)[0] for _ in range(60)} == {2, 5}


@pytest.mark.parametrize(
    ("minimum", "maximum"), [(8192, 2048), (5000, 6000), (16384, 16384), (1, 1024)]
)
def test_r041_bounds_in_which_nothing_lies_are_refused(minimum: int, maximum: int) -> None:
    for moduli in (FILE, Moduli.parse("")):
        with pytest.raises(KeyExchangeFailed):
            moduli.choose(minimum, minimum, maximum)


def test_without_a_file_there_are_the_fixed_groups() -> None:
    empty = Moduli.parse("# nothing\n")
    assert empty.choose(2048, 3072, 8192) == (2, MIDDLE)
    assert empty.choose(2048, 2048, 2048) == (2, SMALL)
    only_small = Moduli.parse(line(SMALL))
    assert only_small.choose(4096, 4096, 8192) == (2, MIDDLE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("six fields only are not enough", "seven fields"),
        (line(SMALL) + " more", "seven fields"),
        (line(SMALL, type="4"), "safe prime"),
        (line(SMALL, tests="0"), "not tested"),
        (line(SMALL, tests="1"), "not tested"),
        (line(SMALL, tests="7"), "not tested"),
        (line(SMALL, tries="0"), "not tested"),
        (line(SMALL, tries="many"), "not a number"),
        (line(SMALL, tests="9" * 5000), "not a number"),
        (line(SMALL, tests="²"), "not a number"),
        (line(SMALL, size="2048"), "2048 bits"),
        (line(fixed_prime(1024)), "1024 bits"),
        (line((1 << 16384) + 1), "16385 bits"),
        (line(SMALL, modulus="xyz"), "hexadecimal"),
        (line(SMALL, modulus=f"0x{SMALL:X}"), "hexadecimal"),
        (line(SMALL, modulus=f"-{SMALL:X}"), "hexadecimal"),
        (line(SMALL - 1), "no group"),
        (line(SMALL, generator="0"), "no group"),
        (line(SMALL, generator="1"), "no group"),
        (line(SMALL, generator=f"{SMALL - 1:X}"), "no group"),
        (line(SMALL, generator="g"), "hexadecimal"),
        ("1 2 6 100 2047 2 " + "F" * 100_000, "seven fields"),
    ],
)
def test_a_bad_line_is_left_out_and_told_of(text: str, reason: str) -> None:
    moduli = Moduli.parse(f"{line(SMALL)}\n{text}\n{line(MIDDLE)}\n")
    assert sorted(moduli.groups) == [2048, 4096]
    (problem,) = moduli.problems
    assert problem.startswith("line 2: ")
    assert reason in problem


def test_not_more_is_told_than_anybody_reads() -> None:
    assert len(Moduli.parse("bad\n" * 1000).problems) == 20


def test_the_systems_own_file_is_read() -> None:
    path = Path("/etc/ssh/moduli")
    if not path.exists():
        pytest.skip("there is no /etc/ssh/moduli")
    moduli = Moduli.parse(path.read_text("ascii"))
    assert moduli.problems == ()
    assert min(moduli.groups) >= 2048
    generator, prime = moduli.choose(2048, 3072, 8192)
    check_group(prime, generator, 2048, 8192)
