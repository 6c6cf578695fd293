"""A small HTTP server that can be restarted under load without losing a request."""

import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hello import GREETING, sockets

PAGES = {"/": lambda: GREETING, "/healthz": lambda: "ok", "/pid": lambda: str(os.getpid())}

draining = threading.Event()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A keep-alive connection may be silent for this long, in seconds.
    timeout = 60
    # Head and body of an answer go out together, not each in a packet of its own.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        page = PAGES.get(self.path.split("?")[0])
        body = ((page() if page else "there is /, /healthz and /pid") + "\n").encode()
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if draining.is_set() or self.close_connection:
            # The client asked for it, or we want it; this line also makes the base class leave its loop.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    # The end of the server waits for the threads of its connections.
    daemon_threads = False

    def __init__(self, listener):
        super().__init__(listener.getsockname(), Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # A successor may wait on the same socket beside us: what we saw coming it may have taken, and to wait
        # inside accept() then would make us deaf.
        self.socket.setblocking(False)
        self.open = set()

    def get_request(self):
        connection, client = super().get_request()
        # Some systems hand the listener's flag on to the connection.
        connection.setblocking(True)
        self.open.add(connection)
        return connection, client

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def no_more_requests(self):
        """Lets every connection come to its end: what has been sent is still read, and nothing after it."""
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # It has just ended by itself.


def main():
    # Blocked before there are threads, which inherit it: the signals wait for sigwait below.
    told = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    servers = [Server(listener) for listener in sockets.take()]
    for server in servers:
        host, port = server.socket.getsockname()[:2]
        print(f"hello: listening on http://{host}:{port}", flush=True)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    signal.sigwait(told)

    # Stop accepting. What waits in the queue of a socket that was handed on stays there for the successor.
    draining.set()
    for server in servers:
        server.shutdown()
        server.socket.close()
    # Clients whose first or next request is on its way get this long; every answer now closes its connection.
    time.sleep(0.2)
    for server in servers:
        server.no_more_requests()
    for server in servers:
        server.server_close()
