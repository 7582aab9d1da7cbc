"""Git over HTTP on loopback, behind a name and a password: `git http-backend`, really."""

import base64
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class GitHttp:
    """`url` is where the server listens; `seen` are the Authorization headers it was shown."""

    directory: Path
    environment: Mapping[str, str]
    username: str = "bot"
    token: str = "s3cret-t0ken"
    redirect: str | None = None
    url: str = ""
    seen: list[str] = field(default_factory=list[str])

    @property
    def expected(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.token}".encode()).decode()


@contextmanager
def serve(server: GitHttp) -> Iterator[GitHttp]:
    """Serve the repositories in `server.directory`, or send all to `server.redirect`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing on stderr."""

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            given = self.headers.get("Authorization")
            if given is not None:
                server.seen.append(given)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if server.redirect is not None:
                self.reply(302, {"Location": server.redirect + self.path})
            elif given != server.expected:
                self.reply(401, {"WWW-Authenticate": 'Basic realm="git"'})
            else:
                self.backend(body)

        def reply(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def backend(self, body: bytes) -> None:
            address = urlsplit(self.path)
            done = subprocess.run(
                ["git", "http-backend"],
                input=body,
                env={
                    **server.environment,
                    "GIT_PROJECT_ROOT": str(server.directory),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": address.path,
                    "QUERY_STRING": address.query,
                    "REQUEST_METHOD": self.command,
                    "REMOTE_USER": server.username,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                },
                capture_output=True,
                check=False,
                timeout=30,
            )
            head, _, answer = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            status = int(headers.pop("Status", "200").split()[0])
            self.reply(status, headers, answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
