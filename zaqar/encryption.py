# SPDX-License-Identifier: Apache-2.0
"""Sealed bodies of messages: how they are made, how they are opened, how they look.

Pure: knows keys and bytes, no store and no configuration. A sealed body is

    MARK | length, name of the key | length, name of the queue | salt | nonce | box

where the queue is the one that the message was posted to, and the box is AES-256-GCM's.
All that stands before the nonce is authenticated with it, and so are the project and
the id of the message. Each body has a key of its own, made of the named one and the
salt by HKDF-SHA256 (RFC 5869), so that random nonces never wear a key out.

No JSON text begins with MARK. So what is stored says by itself whether it is sealed,
and nothing that a client posts can pass for it.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7

from zaqar.keys import Key
from zaqar.model import QueueKey

MARK = b"\x01"
# JSON text begins with this byte or a later one; the earlier ones, but for MARK, are
# free for other forms.
PLAIN = b"\t"
SALT = NONCE = 12
TAG = 16
PURPOSE = b"zaqar message body"


class Unreadable(Exception):
    """A sealed body that cannot be opened; `key` is the name that it bears."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key, self.reason = key, reason


class Sealer:
    """Seals with the first of the keys, and opens what any of them has sealed."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._name = keys[0].name
        self._keys = {key.name: key.secret.encode() for key in keys}

    def seal(self, body: bytes, queue: QueueKey, id: str) -> bytes:
        """Return the sealed body of a message that is posted to the queue."""
        random = os.urandom(SALT + NONCE)
        head = MARK + _short(self._name) + _short(queue.name) + random[:SALT]
        box = self._box(self._name, random[:SALT])
        bound = _bound(head, queue.project, id)
        return head + random[SALT:] + box.encrypt(random[SALT:], body, bound)

    def open(
        self, sealed: bytes, queue: QueueKey, id: str, *, moved: bool = False
    ) -> bytes:
        """Return the body of a message of the queue. Raises Unreadable.

        One that was `moved` may have been posted to another queue of the project.
        """
        try:
            name, source, at = _read_head(sealed)
        except (IndexError, ValueError):
            raise Unreadable("", "it is in no form that is known here") from None
        if name not in self._keys:
            raise Unreadable(name, "there is no key of that name")
        if source != queue.name and not moved:
            raise Unreadable(name, "it was sealed for another queue")
        head, nonce, box = sealed[:at], sealed[at : at + NONCE], sealed[at + NONCE :]
        try:
            return self._box(name, head[-SALT:]).decrypt(
                nonce, box, _bound(head, queue.project, id)
            )
        except InvalidTag:
            reason = "it was changed or moved, or sealed with another key of that name"
            raise Unreadable(name, reason) from None

    def _box(self, name: str, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, PURPOSE).derive(self._keys[name]))

    def open_cbc(self, body: bytes) -> bytes | None:
        """Return the body that the reference has encrypted; None: this is none.

        It is a JSON string with the Base64 of IV and AES-256-CBC of a text, and so is
        what comes back. SECURITY: nothing proves that it is whole, or whose it is; and
        what the reference has pickled is no text and is never looked into.
        """
        if not body.startswith(b'"'):
            return None
        try:
            data = base64.b64decode(msgspec.json.decode(body, type=str), validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(data) < 32 or len(data) % 16:
            return None
        for secret in self._keys.values():
            key = hashlib.sha256(secret).digest()
            decryptor = Cipher(algorithms.AES(key), modes.CBC(data[:16])).decryptor()
            unpadder = PKCS7(128).unpadder()
            try:
                padded = decryptor.update(data[16:]) + decryptor.finalize()
                text = (unpadder.update(padded) + unpadder.finalize()).decode()
            except ValueError:
                continue
            return msgspec.json.encode(text)
        return None


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _bound(head: bytes, project: str, id: str) -> bytes:
    """Return what is authenticated: no two heads, projects and ids come to the same."""
    data = project.encode()
    return b"".join((head, len(data).to_bytes(2), data, id.encode()))


def _read_head(sealed: bytes) -> tuple[str, str, int]:
    """Return the names of key and queue, and where the nonce begins.

    Raises IndexError or ValueError if it is no sealed body.
    """
    if not sealed.startswith(MARK):
        raise ValueError(sealed[:1])
    queue_at = 2 + sealed[1]
    salt_at = queue_at + 1 + sealed[queue_at]
    if len(sealed) < salt_at + SALT + NONCE + TAG:
        raise ValueError(len(sealed))
    name, source = sealed[2:queue_at], sealed[queue_at + 1 : salt_at]
    return name.decode(), source.decode(), salt_at + SALT
