"""Hosts that stand for others': HTTP and HTTPS servers on this machine's loopback."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typing_extensions import override

LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Host:
    """A server, and what it was asked.

    Attributes:
        asked: request line, headers and body of each request.
        redirect: where it sends whoever asks for /redirect.
    """

    port: int
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    redirect: str = ""

    @property
    def place(self) -> str:
        return f"{LOOPBACK}:{self.port}"


@contextmanager
def host(folder: Path | None = None) -> Iterator[Host]:
    """Open a host; with a folder, one that speaks TLS, whose certificate is put there."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # it would keep connections open

        def answer(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size + 2)[:-2]
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            this.asked.append((self.requestline, dict(self.headers.items()), body))
            away = self.path == "/redirect"
            self.send_response(302 if away else 200)
            if away:
                self.send_header("Location", this.redirect)
            text = f"hello from {this.port}: {len(body)}".encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815  # names that the base class looks for

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        this = Host(server.server_address[1])
        if folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certify(folder))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield this
        finally:
            server.shutdown()
            thread.join()


def certify(folder: Path) -> Path:
    """Write a certificate for localhost with its key, signed by itself; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
