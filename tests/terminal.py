r"""Runs a command on a terminal of its own, and returns what it has written there."""

import fcntl
import os
import pty
import struct
import termios

COLUMNS = 130


def on_a_terminal(command, env, folder, outputs=(0, 1, 2)):
    r"""Returns the status and the text; `outputs` are those that are the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for output in {0, 1, 2} - set(outputs):
                os.dup2(nowhere, output)
            os.execvpe(command[0], command, env)
        finally:
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    pieces = []
    while piece := _read(terminal):
        pieces.append(piece)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, b"".join(pieces).decode()


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end is closed
        return b""
