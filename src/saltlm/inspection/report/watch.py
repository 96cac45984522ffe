"""``saltlm watch``: the growing report of a run, served to this machine alone."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from saltlm.errors import CheckpointError, OutputError, SaltlmError
from saltlm.files.damage import reading
from saltlm.inspection.report.content import content_of
from saltlm.inspection.report.page import page_of
from saltlm.inspection.report.saved import read_saved_files

_HERE = "127.0.0.1"
_FILES = ("*.json", "saltlm/*.json*", "*/*.json", "*/saltlm/*.json*")


@dataclass(frozen=True)
class Watch:
    """A report that is served until it is closed; ``with saltlm.watch(DIR) as watched: ...``.

    Attributes:
        url: where it is to be seen, from this machine.
    """

    url: str
    _server: ThreadingHTTPServer = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def wait(self) -> None:
        """Wait until somebody interrupts."""
        self._thread.join()

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def watch(directories: str | Path | Sequence[str | Path], *, port: int = 8765) -> Watch:
    """Serve the report of directories on 127.0.0.1, made anew whenever their files change.

    The page looks for a newer one every two seconds. What does not exist yet is waited for.

    Args:
        directories: as in `report`; of a run, what ``saltlm adapt --out`` names.
        port: to listen on; 0 takes any that is free.

    Raises:
        OutputError: the port is taken.
    """
    several = [directories] if isinstance(directories, str | Path) else directories
    pages = _Pages([Path(one) for one in several])
    try:
        server = ThreadingHTTPServer((_HERE, port), _handler(pages))
    except (OSError, OverflowError) as error:  # 70000 is no port at all
        reason = getattr(error, "strerror", None) or "it is not one of 0 to 65535"
        raise OutputError(
            f"port {port} cannot be used: {reason}", "choose another --port"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    return Watch(f"http://{_HERE}:{server.server_address[1]}/", server, thread)


class _Pages:
    """The page of each state of the files, made when it is asked for."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._lock = threading.Lock()
        self._made = ("", "")

    def version(self) -> str:
        """Return what changes whenever a file does."""
        digest = hashlib.sha256()
        for directory in self._directories:
            for file in sorted({file for some in _FILES for file in directory.glob(some)}):
                try:
                    seen = file.stat()
                except FileNotFoundError:  # it has just been replaced
                    continue
                digest.update(f"{file} {seen.st_mtime_ns} {seen.st_size}\n".encode())
        return digest.hexdigest()

    def page(self) -> str:
        """Return the page of the files as they are."""
        with self._lock:
            version = self.version()
            if version != self._made[0]:
                self._made = (version, self._make())
            return self._made[1]

    def _make(self) -> str:
        title = ", ".join(str(one) for one in self._directories)
        try:
            with reading(title, CheckpointError, "what is being written is whole in a moment"):
                content = content_of(read_saved_files(self._directories))
                return page_of(content, reloads=True)
        except SaltlmError as error:
            content = replace(content_of([]), title=title, warnings=[f"Waiting: {error.what}."])
            return page_of(content, reloads=True)


def _handler(pages: _Pages) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers two questions, of this machine: the page, and its version."""

        def do_GET(self) -> None:
            # Another page in the same browser must not read this one under a name of its own.
            name = self.headers.get("Host", "").rpartition(":")[0]
            if name not in (_HERE, "localhost"):
                self.send_error(403)
            elif self.path == "/version":
                self._answer(pages.version(), "text/plain")
            elif self.path == "/":
                self._answer(pages.page(), "text/html")
            else:
                self.send_error(404)

        def _answer(self, text: str, kind: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *parts: Any) -> None:
            """Say nothing of each request."""

    return Handler
