"""Where the listening sockets come from: handed on by whoever started us, or our own.

The convention is systemd's: the sockets are descriptors 3, 4, ..., their number is in LISTEN_FDS, and
LISTEN_PID names the process they are meant for.
"""

import os
import socket

FIRST_FD = 3


def take():
    """Returns the sockets that were handed on, or opens 127.0.0.1:$PORT (8080)."""
    meant_for_us = os.environ.get("LISTEN_PID", str(os.getpid())) == str(os.getpid())
    count = int(os.environ.get("LISTEN_FDS", 0)) if meant_for_us else 0
    if count > 0:
        return [socket.socket(fileno=FIRST_FD + i) for i in range(count)]
    port = int(os.environ.get("PORT", 8080))
    return [socket.create_server(("127.0.0.1", port), backlog=4096)]
