# SPDX-License-Identifier: Apache-2.0
"""TLS in front of a server that speaks none: certificates, and a proxy that ends it."""

import select
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import trustme


class Authority:
    """Signs certificates; `path` is the file that makes others trust them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = trustme.CA()
        self.path = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.path)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a new certificate and of its key."""
        certificate = self.ca.issue_cert(name)
        chain, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.private_key_pem.write_to_path(key)
        chain.write_bytes(b"".join(p.bytes() for p in certificate.cert_chain_pems))
        return chain, key


class TlsProxy:
    """Takes TLS and forwards what is in it; `clients` is who has to sign theirs."""

    def __init__(
        self, port: int, identity: tuple[Path, Path], clients: Authority | None = None
    ) -> None:
        self._server = ("127.0.0.1", port)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*identity)
        if clients is not None:
            self._context.load_verify_locations(clients.path)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # How many connections spoke TLS to the end of its handshake.
        self.greeted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            inside = self._context.wrap_socket(client, server_side=True)
            self.greeted += 1
            with inside, socket.create_connection(self._server) as server:
                while forward(inside, server):
                    pass

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def forward(inside: ssl.SSLSocket, server: socket.socket) -> bool:
    """Forward one piece of what either says; False at the end."""
    ready = [inside] if inside.pending() else select.select([inside, server], [], [])[0]
    for line, other in ((inside, server), (server, inside)):
        if line in ready:
            data = line.recv(65536)
            if not data:
                return False
            other.sendall(data)
    return True
