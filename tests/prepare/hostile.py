"""A local server that does what bad servers do."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Asked"], None]


class Asked(BaseHTTPRequestHandler):
    """One request; `server.answers[path]` says how it is answered, `server.log` remembers it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.log.append((self.path, dict(self.headers)))
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.reply(404)
        else:
            answer(self)

    def log_message(self, *_: object) -> None:
        """Silence."""

    def reply(self, code: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """An answer; `length` is what it claims, the connection ends after what there is."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        claimed = len(body) if length is None else length
        if claimed >= 0:
            self.send_header("Content-Length", str(claimed))
        if claimed != len(body):
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def range_start(self) -> int:
        """The first byte asked for; 0 without a Range."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def answer_ranges(data: bytes, cut: int | None = None, etag: str = '"one"', resumes: bool = True) -> Answer:
    """A file of a good server; with `cut`, each connection ends after so many bytes."""

    def answer(asked: Asked) -> None:
        start = asked.range_start() if resumes else 0
        if asked.headers.get("If-Range", etag) != etag:
            start = 0
        if start >= len(data):
            asked.reply(416, Content_Range=f"bytes */{len(data)}")
            return
        rest = data[start:]
        headers = {"ETag": etag}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        asked.reply(206 if start else 200, rest[:cut], len(rest), **headers)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """One answer after another, the last for good."""
    waiting = list(answers)
    lock = threading.Lock()

    def answer(asked: Asked) -> None:
        with lock:
            now = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        now(asked)

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda asked: asked.reply(code, b"", **headers)


def body(data: bytes, **headers: str) -> Answer:
    return lambda asked: asked.reply(200, data, **headers)


def answer_and_stall(data: bytes, total: int, seconds: float = 3.0) -> Answer:
    """Some bytes, then silence."""

    def answer(asked: Asked) -> None:
        asked.send_response(200)
        asked.send_header("Content-Length", str(total))
        asked.send_header("ETag", '"one"')
        asked.end_headers()
        asked.wfile.write(data)
        asked.wfile.flush()
        asked.server.over.wait(seconds)
        asked.close_connection = True

    return answer


def trickle(total: int, pause: float = 0.05) -> Answer:
    """A byte now and then."""

    def answer(asked: Asked) -> None:
        asked.send_response(200)
        asked.send_header("Content-Length", str(total))
        asked.end_headers()
        asked.close_connection = True
        try:
            for _ in range(total):
                asked.wfile.write(b"x")
                asked.wfile.flush()
                if asked.server.over.wait(pause):
                    return
        except OSError:
            return

    return answer


class Server:
    """A running server.

    Attributes:
        answers: how each path is answered.
        log: path and headers of each request, in order.
    """

    def __init__(self) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self.http.daemon_threads = True
        self.http.answers, self.http.log, self.http.lock = {}, [], threading.Lock()
        self.http.over = threading.Event()
        self.answers: dict[str, Answer] = self.http.answers
        self.log: list[tuple[str, dict[str, str]]] = self.http.log
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def gives(self, path: str, answer: Answer) -> str:
        """Answer like this, and return the address."""
        self.answers[path] = answer
        return self.url + path


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the time of the block."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.over.set()
        server.http.shutdown()
        server.http.server_close()
        time.sleep(0)
