# SPDX-License-Identifier: Apache-2.0
"""Facts of sealed bodies: only what was sealed is opened, and only where it belongs."""

import base64
import hashlib
import os
import pickle

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from zaqar.encryption import MARK, PLAIN, Sealer, Unreadable
from zaqar.keys import Key
from zaqar.model import QueueKey

ONE, OTHER = Key("2026-11", "a" * 32), Key("2026-05", "b" * 32)
QUEUE = QueueKey("p1", "q1")
ID = "0198c0de-0000-7000-8000-000000000000"
BODY = b'{"secret": "hello"}'
SEALED = Sealer([ONE]).seal(BODY, QUEUE, ID)

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=64)
queues = st.builds(QueueKey, st.text(max_size=256).filter(str.isprintable), names)


@given(st.binary(), queues, names)
def test_what_was_sealed_is_opened(body: bytes, queue: QueueKey, id: str) -> None:
    sealed = Sealer([ONE]).seal(body, queue, id)

    assert sealed.startswith(MARK)
    assert Sealer([ONE]).open(sealed, queue, id) == body


def test_nothing_of_the_body_is_in_what_is_stored() -> None:
    assert b"hello" not in SEALED
    assert b"secret" not in SEALED


def test_a_sealed_body_is_as_long_as_operators_are_told() -> None:
    assert len(SEALED) == len(BODY) + 43 + len(ONE.name) + len(QUEUE.name)


def test_one_body_is_never_sealed_twice_the_same() -> None:
    sealer = Sealer([ONE])
    boxes = {sealer.seal(BODY, QUEUE, ID) for _ in range(100)}
    # Neither by the salt nor by the nonce.
    at = len(SEALED) - len(BODY) - 16 - 24

    assert len(boxes) == 100
    assert len({box[at : at + 12] for box in boxes}) == 100
    assert len({box[at + 12 : at + 24] for box in boxes}) == 100


@given(st.data())
def test_any_change_of_what_is_stored_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SEALED) - 1), "place")
    changed = bytearray(SEALED)
    changed[at] ^= data.draw(st.integers(1, 255), "change")

    for moved in (False, True):
        with pytest.raises(Unreadable):
            Sealer([ONE]).open(bytes(changed), QUEUE, ID, moved=moved)


@given(st.integers(0, len(SEALED) - 1), st.binary(min_size=1, max_size=4))
def test_what_was_cut_or_lengthened_is_refused(end: int, more: bytes) -> None:
    for changed in (SEALED[:end], SEALED[end:], SEALED + more, more + SEALED):
        if changed != SEALED:
            with pytest.raises(Unreadable):
                Sealer([ONE]).open(changed, QUEUE, ID, moved=True)


@given(queues, names)
def test_another_project_queue_or_id_is_refused(queue: QueueKey, id: str) -> None:
    others = [
        (QueueKey(queue.project, QUEUE.name), ID),
        (QueueKey(QUEUE.project, queue.name), ID),
        (QUEUE, id),
        # The same text, divided otherwise.
        (QueueKey("p", "1q1"), ID),
        (QueueKey("p1" + ID[:1], "q1"), ID[1:]),
    ]
    for where, which in others:
        if (where, which) != (QUEUE, ID):
            with pytest.raises(Unreadable):
                Sealer([ONE]).open(SEALED, where, which)


def test_a_moved_message_is_opened_in_any_queue_of_its_project() -> None:
    sealer = Sealer([ONE])

    assert sealer.open(SEALED, QueueKey("p1", "dead"), ID, moved=True) == BODY
    with pytest.raises(Unreadable, match="another queue"):
        sealer.open(SEALED, QueueKey("p1", "dead"), ID)
    with pytest.raises(Unreadable, match="changed or moved"):
        sealer.open(SEALED, QueueKey("p2", "q1"), ID, moved=True)
    with pytest.raises(Unreadable, match="changed or moved"):
        sealer.open(SEALED, QUEUE, ID[::-1], moved=True)


@given(st.text(min_size=1).filter(lambda text: text != ONE.secret))
def test_another_key_of_the_same_name_is_refused(secret: str) -> None:
    with pytest.raises(Unreadable, match="another key of that name") as caught:
        Sealer([Key(ONE.name, secret)]).open(SEALED, QUEUE, ID)

    assert caught.value.key == ONE.name


def test_the_first_key_seals_and_all_of_them_open() -> None:
    before = Sealer([OTHER]).seal(BODY, QUEUE, ID)
    sealer = Sealer([ONE, OTHER])

    assert sealer.open(before, QUEUE, ID) == BODY
    assert Sealer([ONE]).open(sealer.seal(BODY, QUEUE, ID), QUEUE, ID) == BODY
    with pytest.raises(Unreadable, match="no key of that name") as caught:
        Sealer([ONE]).open(before, QUEUE, ID)
    assert caught.value.key == "2026-05"


def test_a_key_is_not_found_under_the_name_of_another() -> None:
    renamed = SEALED.replace(ONE.name.encode(), OTHER.name.encode())

    with pytest.raises(Unreadable):
        Sealer([ONE, Key(OTHER.name, ONE.secret)]).open(renamed, QUEUE, ID)


@given(st.binary())
def test_no_bytes_do_more_than_being_refused(data: bytes) -> None:
    for sealed in (data, MARK + data):
        with pytest.raises(Unreadable):
            Sealer([ONE]).open(sealed, QUEUE, ID, moved=True)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)


@given(json)
def test_no_json_text_passes_for_a_sealed_body(value: object) -> None:
    assert not msgspec.json.encode(value) < PLAIN
    assert SEALED < PLAIN


# What the reference has encrypted -----------------------------------------------------


def cbc(data: bytes, secret: str) -> bytes:
    """Return what the contract says is stored, as the JSON string that it is here."""
    padder, iv = PKCS7(128).padder(), os.urandom(16)
    padded = padder.update(data) + padder.finalize()
    key = hashlib.sha256(secret.encode()).digest()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    box = iv + encryptor.update(padded) + encryptor.finalize()
    return msgspec.json.encode(base64.b64encode(box).decode())


@given(st.text())
def test_a_text_that_the_reference_encrypted_is_opened(text: str) -> None:
    for key in (ONE, OTHER):
        opened = Sealer([ONE, OTHER]).open_cbc(cbc(text.encode(), key.secret))

        assert opened == msgspec.json.encode(text)


class Bomb:
    """Ends the test if it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return os.abort, ()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [{"a": 1}, [1, "two"], 7, None, Bomb()])
def test_what_the_reference_pickled_is_never_looked_into(
    value: object, protocol: int
) -> None:
    pickled = pickle.dumps(value, protocol)

    assert Sealer([ONE]).open_cbc(cbc(pickled, ONE.secret)) is None


@given(json)
def test_what_is_no_such_text_is_left_as_it_is(value: object) -> None:
    assert Sealer([ONE]).open_cbc(msgspec.json.encode(value)) is None


@pytest.mark.parametrize("size", [0, 15, 16, 17, 31, 33, 40])
def test_base64_of_another_length_is_left_as_it_is(size: int) -> None:
    text = base64.b64encode(bytes(size)).decode()

    assert Sealer([ONE]).open_cbc(msgspec.json.encode(text)) is None


def test_a_text_under_another_key_is_left_as_it_is() -> None:
    # Of 50 such texts none comes to valid padding and valid UTF-8 at once.
    for number in range(50):
        body = cbc(bytes([65 + number % 26]) * 100, "another")

        assert Sealer([ONE, OTHER]).open_cbc(body) is None
