"""A server of a few files that can do whatever servers do wrong."""

import gzip
import hashlib
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from ecgsynth import fetch as module
from ecgsynth.fetch import iter_fetch

FILES = {
    "a.hea": b"a 1 360 10\n",
    "a.dat": np.random.default_rng(0).bytes(200_000),
    "a.atr": b"\1\2\3\0\0",
    "b.hea": b"b 1 360 10\n",
    "b.dat": np.random.default_rng(1).bytes(70_000),
}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def log_message(self, *args):
        pass

    def do_GET(self):
        name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.requests.append((name, wanted))
        faults = self.server.faults.get(name)
        fault = faults.pop(0) if faults else None
        body = FILES.get(name, b"a listing" if not name else None)
        if body is None or isinstance(fault, int):
            return self.answer(fault or 404, b"no")
        if fault == "altered":
            body = b"X" + body[1:]
        start = 0
        if wanted and self.server.honours_range:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.answer(416, b"")
        if fault in ("endless", "drip"):
            return self.never_ends(fault)
        if fault == "round":
            return self.redirect(f"/mitdb/{name}")
        if fault == "elsewhere":
            return self.redirect(f"/mirror/{name}")
        if fault == "other part":
            start = max(0, start - 100)
        packed = fault == "gzip"
        if fault == "drip header":
            self.drip_header()
        self.answer(206 if start else 200, gzip.compress(body[start:]) if packed else body[start:], fault, start)

    def redirect(self, to):
        self.server.faults.setdefault(to.rpartition("/")[2], []).extend(["round"] if "mirror" not in to else [])
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def never_ends(self, fault):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(b"x" if fault == "drip" else b"x" * 65536)
            if fault == "drip":
                time.sleep(0.02)

    def drip_header(self):
        """Begin an answer that is right, and comes in the end."""
        self.wfile.write(b"HTTP/1.1 100 Continue\r\nX-Patience: ")
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.02)
        self.wfile.write(b"\r\n\r\n")

    def answer(self, status, body, fault=None, start=0):
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
        if fault == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body) + {"long": 10, "short": -3}.get(fault, 0)))
        self.end_headers()
        half = len(body) // 2
        if fault == "trickle":
            for place in range(0, half, 1000):
                self.wfile.write(body[place : min(place + 1000, half)])
                time.sleep(0.02)
        else:
            self.wfile.write(body[:half])
        if fault == "slow":
            time.sleep(2.0)
        if fault != "drop":
            self.wfile.write(body[half:])
        self.close_connection = self.close_connection or fault is not None


@contextmanager
def running_server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "_PAUSES", (0.01, 0.01))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *args: None  # a client that leaves early is part of the tests
        server.requests, server.faults, server.honours_range = [], {}, True
        server.url = f"http://127.0.0.1:{server.server_port}/mitdb/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def steps(server, folder, sums=SUMS):
    return list(iter_fetch(folder, base_url=server.url, sums=sums))


def assert_all_right(folder):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def ranges_of(server, name):
    return [wanted for asked, wanted in server.requests if asked == name]
