"""A small HTTP service that Seakeep can keep: it answers /, /healthz and /ready, and on
SIGTERM it finishes the requests that it has before it goes. Python's standard library only."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = os.environ.get("HOST", "127.0.0.1")
PORT = int(os.environ.get("PORT", "8000"))
ME = os.environ.get("SEAKEEP_INSTANCE", "hello-0")
REGION = os.environ.get("SEAKEEP_REGION", "nowhere")

leaving = threading.Event()
busy = 0
"""Requests that are being answered."""
changed = threading.Condition()


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD requests."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        global busy
        with changed:
            busy += 1
        try:
            self.route()
        finally:
            with changed:
                busy -= 1
                changed.notify_all()

    do_HEAD = do_GET

    def route(self) -> None:
        if self.path == "/healthz":  # alive: the process can answer
            self.answer(200, {"ok": True})
        elif self.path == "/ready":  # ready: it wants new requests
            self.answer(503 if leaving.is_set() else 200, {"ready": not leaving.is_set()})
        else:
            self.answer(200, {"hello": "world", "from": ME, "region": REGION})

    def answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if leaving.is_set():
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the edge keeps the access log."""


class Server(ThreadingHTTPServer):
    """A thread per connection; idle ones do not keep the process alive."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is no fault of ours; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def main() -> None:
    server = Server((HOST, PORT), Handler)

    def leave(number: int, frame: object) -> None:
        leaving.set()
        # shutdown() waits for serve_forever(), which runs in this very thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    print(f"{ME} listens at {HOST}:{PORT}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    with changed:  # stop_grace in the spec is longer than this
        changed.wait_for(lambda: busy == 0, timeout=4)


if __name__ == "__main__":
    main()
