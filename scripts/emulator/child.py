"""Runs one command in a process group of its own and ends the group when the emulator is gone.

Started as ``python -I -S child.py COMMAND...`` with a pipe from the emulator as standard input. A byte ``T`` asks the group to end, ``K``
kills it, and the end of the pipe (the emulator died, by whatever signal) kills it too. No other way survives a SIGKILL on every Unix.
``i`` and ``t`` are SIGINT and SIGTERM to the command alone, which is how agents of CI systems cancel a step.
"""

import os
import signal
import subprocess
import sys
import threading

ALONE = {b"i": signal.SIGINT, b"t": signal.SIGTERM}


def main() -> int:
    control, ended = os.dup(0), threading.Event()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, close_fds=True)

    def send(number: int) -> None:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass

    def listen() -> None:
        while True:
            order = os.read(control, 1)
            if order in ALONE:
                child.send_signal(ALONE[order])
                continue
            send(signal.SIGKILL if order == b"K" else signal.SIGTERM)
            if not order:  # the emulator died: a second to write what is still in memory
                ended.wait(1)
                send(signal.SIGKILL)
                os._exit(137)

    threading.Thread(target=listen, daemon=True).start()
    code = child.wait()
    ended.set()
    send(signal.SIGKILL)  # whatever it left behind in its group
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the pipe decides; unlike SIG_IGN, a handler is not inherited by the command
    sys.exit(main())
