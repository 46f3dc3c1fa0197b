# SPDX-License-Identifier: Apache-2.0
"""Facts of signatures: what is signed, and that nothing else is let in."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from zaqar import signing
from zaqar.errors import InvalidRequest, SignatureRefused
from zaqar.keys import Key
from zaqar.signing import Terms

KEY = Key("now", "7 secret é")
OLD = Key("before", "old")
MESSAGES, CLAIMS = "/v2/queues/q/messages", "/v2/queues/q/claims"
TERMS = Terms((MESSAGES, CLAIMS), ("GET", "POST"), "p1", "2030-01-01T00:00:00")
END = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
REQUEST: dict[str, Any] = {"method": "GET", "path": MESSAGES, "now": END - 1}


def signer(signature: str, terms: Terms, *keys: Key, **changes: Any) -> str | None:
    """Return who signed, or None where the request is refused."""
    try:
        return signing.verify(signature, terms, keys or (KEY,), **(REQUEST | changes))
    except SignatureRefused:
        return None


# The text ----------------------------------------------------------------------------


def test_text_is_that_of_the_contract() -> None:
    """The separator is a backslash and the letter n."""
    terms = Terms(("/v2/queues/q/messages",), ("POST", "GET"), "p1", TERMS.expires)

    text = signing.text_of(terms)

    assert text == rb"/v2/queues/q/messages\nGET,POST\np1\n2030-01-01T00:00:00"
    assert b"\n" not in text


def test_signature_is_hmac_sha256_in_lower_case_hexadecimal() -> None:
    mac = hmac.new("7 secret é".encode(), signing.text_of(TERMS), hashlib.sha256)

    assert signing.sign(TERMS, KEY) == mac.hexdigest()


def test_known_signature_stays_as_it_is() -> None:
    terms = Terms((MESSAGES,), ("GET", "POST"), "p1", "2030-01-01T00:00:00")

    assert (
        signing.sign(terms, Key("any", "secret"))
        == hmac.digest(
            b"secret",
            b"/v2/queues/q/messages\\nGET,POST\\np1\\n2030-01-01T00:00:00",
            "sha256",
        ).hex()
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"project": r"p1\n2030-01-01T00:00:00"},
        {"methods": (r"GET\np2",)},
        {"paths": (rf"{MESSAGES}\nGET",)},
        {"expires": r"\n"},
    ],
)
def test_terms_that_could_be_read_in_two_ways_are_not_signed(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(InvalidRequest):
        signing.sign(replace(TERMS, **changes), KEY)


def test_terms_of_one_text_are_those_of_one_project() -> None:
    """The separator within a method would else move the border of the fields."""
    text = rf"{MESSAGES}\nGET\np2\n2030-01-01T00:00:00\np1\n2030-01-01T00:00:00"
    forged = hmac.digest(KEY.secret.encode(), text.encode(), "sha256").hex()
    *_, rest = text.partition(r"GET\n")
    project = rest.removesuffix(r"\n2030-01-01T00:00:00")

    assert signer(forged, Terms((MESSAGES,), ("GET",), project, TERMS.expires)) is None


# What is let in ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [MESSAGES, CLAIMS, f"{MESSAGES}/4f-a", f"{CLAIMS}/x"])
def test_signed_methods_and_paths_are_let_in(method: str, path: str) -> None:
    assert signer(signing.sign(TERMS, KEY), TERMS, method=method, path=path) == "now"


def test_order_of_paths_and_methods_is_free() -> None:
    turned = replace(TERMS, paths=TERMS.paths[::-1], methods=TERMS.methods[::-1])

    assert signer(signing.sign(TERMS, KEY), turned) == "now"


def test_the_last_second_counts_and_the_end_does_not() -> None:
    signature = signing.sign(TERMS, KEY)

    assert signer(signature, TERMS, now=END - 0.001) == "now"
    assert signer(signature, TERMS, now=END) is None


def test_each_key_verifies_and_is_told_by_its_name() -> None:
    signature = signing.sign(TERMS, OLD)

    assert signer(signature, TERMS, KEY, OLD) == "before"
    assert signer(signature, TERMS, KEY) is None


def test_without_a_key_nothing_is_valid() -> None:
    empty = hmac.digest(b"", signing.text_of(TERMS), "sha256").hex()

    with pytest.raises(SignatureRefused):
        signing.verify(empty, TERMS, (), **REQUEST)


@pytest.mark.parametrize("length", [10, 2 * signing.SHORT])
def test_terms_that_were_seen_before_are_verified_as_the_first_time(
    length: int,
) -> None:
    """What is remembered of terms lets in neither another signature nor another key."""
    terms = replace(TERMS, paths=(MESSAGES, f"/{'x' * length}"))
    signature, forged = signing.sign(terms, KEY), signing.sign(terms, OLD)
    later = replace(terms, expires="2031-01-01T00:00:00")
    assert signer(forged, terms) is None

    assert signer(signature, terms) == "now"
    assert signer(signature, terms) == "now"

    assert signer(forged, terms) is None
    assert signer(forged, terms, KEY, OLD) == "before"
    assert signer(signature, terms, OLD) is None
    assert signer(signature, later) is None
    assert signer(signature, terms, now=END) is None
    assert signer(signature, terms, method="DELETE") is None
    assert signer(signature, terms, path=CLAIMS) is None


def test_what_strangers_have_remembered_is_small() -> None:
    """Terms with a long text are verified, and nothing of them is kept."""
    long = replace(TERMS, paths=(MESSAGES, f"/{'x' * signing.SHORT}"))
    signing._remembered.cache_clear()

    assert signer(signing.sign(long, KEY), long) == "now"
    assert signing._remembered.cache_info().currsize == 0

    assert signer(signing.sign(TERMS, KEY), TERMS) == "now"
    assert signing._remembered.cache_info().currsize == 1


def test_comparison_is_the_constant_one_and_made_with_each_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    signature = signing.sign(TERMS, KEY)

    assert signer(signature, TERMS, KEY, OLD) == "now"
    assert [other for _, other in compared] == [signature.encode()] * 2


@pytest.mark.parametrize(
    "path",
    [
        "/v2/queues/q",
        "/v2/queues/q/message",
        "/v2/queues/q/messagesx",
        "/v2/queues/q/messages/",
        "/v2/queues/q/messages//",
        "/v2/queues/q/messages//x",
        "/v2/queues/q//messages",
        "//v2/queues/q/messages",
        "/v2/queues/q/./messages",
        "/v2/queues/q/messages/..",
        "/v2/queues/q/messages/../claims",
        "/v2/queues/q/messages/./x",
        "/v2/queues/q/messages/%2e%2e",
        "/v2/queues/%71/messages",
        "/v2/queues/q%2Fmessages",
        "/v2/queues/q/messages/x?y",
        "/v2/queues/q/messages/\n",
        "/v2/queues/q/messages\n",
        "/v2/queues/q/messages/é",
        "/v2/queues/Q/messages",
        "/V2/queues/q/messages",
        "/v2/queues/q/Messages",
        "/v1.1/queues/q/messages",
        "/v2/topics/q/messages",
        "/messaging/v2/queues/q/messages",
        "v2/queues/q/messages",
        "/v2/queues/q/subscriptions",
        "",
    ],
)
def test_another_path_or_spelling_is_not_covered(path: str) -> None:
    assert not signing.covers(TERMS.paths, path)


def test_a_path_is_no_pattern() -> None:
    assert not signing.covers(("/v2/queues/x.y/messages",), "/v2/queues/xzy/messages")
    assert not signing.covers((".*", "", "/", "/v2/queues/q/"), MESSAGES)


@pytest.mark.parametrize(
    "expires",
    [
        "",
        "2030-01-01",
        "2030-01-01T00:00:00Z",
        "2030-01-01T00:00:00+00:00",
        "2030-01-01T00:00:00.5",
        "2030-01-01 00:00:00",
        "20300101T000000",
        "2030-13-01T00:00:00",
        "2030-02-30T00:00:00",
        "2030-01-01T00:00:00\n",
        "٢٠٣٠-01-01T00:00:00",
        "99999-01-01T00:00:00",
    ],
)
def test_an_end_in_another_form_is_refused_even_if_it_is_signed(expires: str) -> None:
    terms = replace(TERMS, expires=expires)

    assert signer(signing.sign(terms, KEY), terms) is None


def test_ends_are_written_in_utc_down_to_the_second() -> None:
    east = datetime(2030, 1, 1, 1, 0, 0, 999_999, timezone(timedelta(hours=1)))

    assert signing.expiry(east) == TERMS.expires
    assert signing.instant(TERMS.expires) == END


# Properties --------------------------------------------------------------------------

names = st.text("abAB.-_09", min_size=1, max_size=5).filter(lambda n: set(n) != {"."})
paths = st.builds(
    "/v2/queues/{}/{}".format,
    names,
    st.sampled_from(["messages", "claims", "subscriptions"]),
)
some_terms = st.builds(
    Terms,
    st.lists(paths, min_size=1, max_size=3, unique=True).map(tuple),
    st.lists(
        st.sampled_from(["GET", "POST", "DELETE", "PATCH", "get"]),
        min_size=1,
        max_size=3,
        unique=True,
    ).map(tuple),
    st.text("p1\\n,é ", min_size=1, max_size=6).filter(lambda t: r"\n" not in t),
    st.datetimes(datetime(2027, 1, 1), datetime(2990, 1, 1)).map(
        lambda moment: signing.expiry(moment.replace(tzinfo=UTC))
    ),
)


@given(terms=some_terms, other=some_terms, data=st.data())
def test_other_terms_are_refused(
    terms: Terms, other: Terms, data: st.DataObject
) -> None:
    """Any mixture of two terms is refused unless it says what was signed."""
    fields = data.draw(st.lists(st.sampled_from(Terms.__struct_fields__), min_size=1))
    changed = replace(terms, **{name: getattr(other, name) for name in fields})
    is_same = all(
        sorted(getattr(changed, name)) == sorted(getattr(terms, name))
        for name in ("paths", "methods")
    ) and (changed.project, changed.expires) == (terms.project, terms.expires)

    found = signer(
        signing.sign(terms, KEY),
        changed,
        method=changed.methods[0],
        path=changed.paths[0],
        now=0,
    )

    assert (found is not None) == is_same


@given(terms=some_terms, other=some_terms)
def test_two_terms_never_have_one_text(terms: Terms, other: Terms) -> None:
    if signing.text_of(terms) == signing.text_of(other):
        assert sorted(terms.paths) == sorted(other.paths)
        assert sorted(terms.methods) == sorted(other.methods)
        assert (terms.project, terms.expires) == (other.project, other.expires)


@given(data=st.data(), terms=some_terms)
def test_a_changed_signature_is_refused(data: st.DataObject, terms: Terms) -> None:
    signature = signing.sign(terms, KEY)
    place = data.draw(st.integers(0, len(signature)))
    kept = data.draw(st.integers(0, 2))
    inserted = data.draw(st.text(max_size=2))
    changed = signature[:place] + inserted + signature[place + kept :]
    assume(changed != signature)

    for wrong in (changed, signature.upper(), "", f"{signature},{signature}"):
        assume(wrong != signature)
        found = signer(
            wrong, terms, method=terms.methods[0], path=terms.paths[0], now=0
        )
        assert found is None


@given(signed=paths, path=st.text("/v2queasmg.%~ ", max_size=30) | paths)
def test_only_the_path_and_what_is_below_it_is_covered(signed: str, path: str) -> None:
    for asked in (path, signed + path, signed[:-1] + path):
        is_below = asked == signed or asked.startswith(f"{signed}/")
        steps = asked.split("/")[1:]
        is_plain = not any(
            step in ("", ".", "..") or set(step) & set("%~ ") for step in steps
        )

        assert signing.covers([signed], asked) == (is_below and is_plain)
