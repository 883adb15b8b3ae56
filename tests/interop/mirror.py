# SPDX-License-Identifier: MIT
"""The remote command of many tests: what comes in goes out twice, in blocks of the size told.

Standard output gets it as it is, standard error with every bit turned over: a byte on the wrong
stream shows.
"""

import os
import sys

TURNED = bytes(range(255, -1, -1))


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> None:
    size = int(sys.argv[1])
    while block := os.read(0, size):
        write_all(1, block)
        write_all(2, block.translate(TURNED))


if __name__ == "__main__":
    main()
