# SPDX-License-Identifier: MIT
"""Runs a program whose output ends after so many bytes, as a killed connection's does: COUNT ARGUMENT..."""

import os
import subprocess
import sys

count = int(sys.argv[1])
with subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE) as child:
    assert child.stdout is not None
    while count and (data := os.read(child.stdout.fileno(), min(count, 65536))):
        count -= len(data)
        while data:
            data = data[os.write(1, data) :]
    child.kill()
sys.exit(255)
