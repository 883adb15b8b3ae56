# SPDX-License-Identifier: MIT
"""Questions on a terminal, and the signals that come while one waits."""

import os
import subprocess
import sys

# The thread takes the signal, so that nothing interrupts the poll() of the main one: it is as if
# the signal had come between the last look at what is noted and the wait.
UNNOTICED = """
import os, signal, threading
from tellin.runtime.prompts import _Signals, read_line
reading, writing = os.pipe()
with _Signals() as signals:
    def deliver():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Timer(0.3, deliver).start()
    print(read_line(reading, stop=signals.descriptor), signals.arrived == [signal.SIGTERM])
"""


def test_a_signal_that_came_just_before_the_wait_is_noticed_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNNOTICED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("None True\n", "", 0)


def test_a_line_is_read_to_its_end_and_no_further() -> None:
    from tellin.runtime.prompts import read_line

    reading, writing = os.pipe()
    os.write(writing, b"one\r\ntwo")
    os.close(writing)
    assert read_line(reading) == b"one"
    assert read_line(reading) == b"two"
    assert read_line(reading) is None
    os.close(reading)
