# SPDX-License-Identifier: Apache-2.0
"""Facts of mails: what is in them, by server and by command, and what fails."""

import asyncio
import email
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.notification import arrange
from tests.notification.arrange import NOTIFICATION, SHORT, sent, target
from tests.tls import Authority
from zaqar.errors import InvalidRequest
from zaqar.notification.payload import Notification
from zaqar.notification.senders import Outcome, check
from zaqar.notification.settings import MailText

TO = "mailto:ada@example.org"


class Box:
    """What a mail server got, and what it answers."""

    def __init__(self, **answers: str) -> None:
        self._answers = answers
        self.mails: list[Any] = []

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if "RCPT" not in self._answers:
            envelope.rcpt_tos.append(address)
        return self._answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((session, envelope))
        return self._answers.get("DATA", "250 OK")

    def only(self) -> EmailMessage:
        [(_, envelope)] = self.mails
        return read(envelope.content)


def read(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=default)  # type: ignore[arg-type]


def authenticate(server: Any, *arguments: Any) -> AuthResult:
    data = arguments[-1]
    assert isinstance(data, LoginPassword)
    return AuthResult(success=data.password == b"pw", handled=False)


@contextmanager
def server(
    box: Box, tls: ssl.SSLContext | None = None, **options: Any
) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(
        box, hostname="127.0.0.1", port=port, ssl_context=tls, **options
    )
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def by_server(port: int, **options: Any) -> Any:
    values = {
        "smtp_mode": "self_local",
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
    }
    return arrange.settings(**(values | options))


def mailed(
    given: Any,
    to: str = TO,
    options: dict[str, Any] | None = None,
    document: Notification = NOTIFICATION,
) -> Outcome:
    return asyncio.run(sent(target(to, options, document), given=given))[0]


def test_a_notification_is_the_text_of_a_mail() -> None:
    box = Box()
    with server(box) as port:
        outcome = mailed(
            by_server(port), options={"subject": "Händel", "from": "a@b.c"}
        )

    assert outcome.delivered, outcome
    assert outcome.status is None
    [(_, envelope)] = box.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@b.c", ["ada@example.org"])
    mail = box.only()
    assert mail["To"] == "ada@example.org"
    assert mail["From"] == "a@b.c"
    assert mail["Subject"] == "Händel"
    assert mail["Message-ID"].startswith("<0190f3c2-d1@")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().strip().encode() == NOTIFICATION.document


@pytest.mark.parametrize(
    ("query", "options", "subject"),
    [
        ("", {}, ""),
        ("", {"subject": "mine"}, "mine"),
        ("?subject=theirs", {"subject": "mine"}, "theirs"),
        ("?SuBject=a%20b+c", {}, "a b+c"),
        ("?cc=eve@example.org&subject=x", {}, "x"),
        ("?subject=", {"subject": "mine"}, ""),
    ],
)
def test_subject_is_that_of_the_query_or_of_the_options(
    query: str, options: dict[str, str], subject: str
) -> None:
    box = Box()
    with server(box) as port:
        assert mailed(by_server(port), TO + query, options).delivered

    assert (box.only()["Subject"] or "") == subject
    assert "eve" not in str(box.only())


@pytest.mark.parametrize(
    ("text", "user", "start"),
    [
        ("Jack <jack@example.org>", "", "Jack <jack@example.org>"),
        ("Jack", "me@example.org", "Jack <me@example.org>"),
        ("", "me@example.org", "me@example.org"),
        ("", "", "zaqar@"),
        ("Jäck, Eve <eve@example.org>", "", '"Jäck, Eve <eve@example.org>" <zaqar@'),
    ],
)
def test_a_mail_always_has_one_sender(text: str, user: str, start: str) -> None:
    box = Box()
    options = {"authenticator": authenticate, "auth_require_tls": False}
    with server(box, **options) as port:
        given = by_server(port, smtp_user_name=user, smtp_user_password="pw")
        assert mailed(given, options={"from": text}).delivered

    assert str(box.only()["From"]).startswith(start)
    assert len(box.only()["From"].addresses) == 1


def test_a_confirmation_is_a_mail_of_its_own() -> None:
    box = Box()
    text = MailText("Confirm\r\nBcc: eve@example.org", "Open https://h/?a", "s@h.org")
    with server(box) as port:
        outcome = mailed(by_server(port), document=Notification(b"{}", text))

    assert outcome.delivered
    mail = box.only()
    assert mail["Subject"] == "Confirm  Bcc: eve@example.org"
    assert mail["Bcc"] is None
    assert mail["From"] == "s@h.org"
    assert mail.get_content().strip() == "Open https://h/?a"


# The server --------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_mails_go_through_tls_with_a_login(tmp_path: Path, security: str) -> None:
    authority, box = Authority(tmp_path), Box()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("localhost"))
    options: dict[str, Any] = {"authenticator": authenticate}
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
        options |= {"auth_required": True}
    else:
        options |= {"auth_require_tls": False}
    with server(box, context if security == "tls" else None, **options) as port:
        given = by_server(
            port,
            smtp_host="localhost",
            smtp_security=security,
            smtp_user_name="me",
            smtp_user_password="pw",
            ca_file=str(authority.path),
        )
        outcome = mailed(given)
        untrusted = mailed(
            by_server(port, smtp_host="localhost", smtp_security=security)
        )

    assert outcome.delivered, outcome
    [(session, _)] = box.mails
    assert session.authenticated
    assert session.ssl or security == "tls"
    assert (untrusted.delivered, untrusted.final) == (False, False)


def test_a_server_without_starttls_gets_no_mail() -> None:
    box = Box()
    with server(box) as port:
        outcome = mailed(by_server(port, smtp_security="starttls"))

    assert not outcome.delivered
    assert not box.mails


def test_a_refused_login_is_final_and_tells_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = Box()
    options = {"authenticator": authenticate, "auth_require_tls": False}
    with server(box, **options) as port:
        given = by_server(port, smtp_user_name="me", smtp_user_password="wrong-one")
        outcome = mailed(given)

    assert (outcome.delivered, outcome.final) == (False, True)
    assert "refuses the login" in caplog.text
    assert "wrong-one" not in f"{caplog.text}{outcome.error}" + repr(given)


@pytest.mark.parametrize(
    ("answers", "final"),
    [
        ({"RCPT": "550 No such user"}, True),
        ({"RCPT": "451 Greylisted"}, False),
        ({"DATA": "554 Spam"}, True),
        ({"DATA": "452 Full"}, False),
    ],
)
def test_a_refusal_for_good_is_final_and_one_for_now_is_not(
    answers: dict[str, str], final: bool
) -> None:
    with server(Box(**answers)) as port:
        outcome = mailed(by_server(port))

    assert (outcome.delivered, outcome.final) == (False, final)


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    outcome = mailed(by_server(port))

    assert (outcome.delivered, outcome.final) == (False, False)


def test_a_server_that_hangs_gets_one_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        outcome = mailed(by_server(port, delivery_timeout=SHORT))

    assert (outcome.delivered, outcome.final) == (False, False)
    assert "1 seconds" in outcome.error


# The command -------------------------------------------------------------------------


def command(tmp_path: Path, code: str) -> Any:
    """Return settings with a command that runs this Python in `tmp_path`."""
    script = tmp_path / "mail.py"
    script.write_text(f"import os, sys, time\nos.chdir({str(tmp_path)!r})\n{code}\n")
    return arrange.settings(smtp_command=f"{sys.executable} {script}  -t -oi")


def test_a_command_gets_the_mail_on_its_input(tmp_path: Path) -> None:
    given = command(
        tmp_path,
        "open('args', 'w').write(' '.join(sys.argv[1:]))\n"
        "open('mail', 'wb').write(sys.stdin.buffer.read())",
    )

    outcome = mailed(given, options={"subject": "S"})

    assert outcome.delivered, outcome
    content = (tmp_path / "mail").read_bytes()
    assert b"\r" not in content
    assert (tmp_path / "args").read_text() == "-t -oi"
    mail = read(content)
    assert (mail["To"], mail["Subject"]) == ("ada@example.org", "S")
    assert json.loads(mail.get_content()) == json.loads(NOTIFICATION.document)


@pytest.mark.parametrize(("code", "final"), [(1, True), (75, False)])
def test_a_command_that_fails(tmp_path: Path, code: int, final: bool) -> None:
    outcome = mailed(command(tmp_path, f"sys.stdin.read(); sys.exit({code})"))

    assert (outcome.delivered, outcome.final) == (False, final)


def test_a_command_that_reads_nothing_is_no_failure_of_ours(tmp_path: Path) -> None:
    document = Notification(b'"' + b"x" * 1_000_000 + b'"')

    outcome = mailed(command(tmp_path, "sys.exit(0)"), document=document)

    assert outcome.error in (None, "The mail command fails.")


def test_a_command_that_is_not_there_is_tried_again() -> None:
    outcome = mailed(arrange.settings(smtp_command="/no/such/command -t"))

    assert (outcome.delivered, outcome.final) == (False, False)


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    given = command(
        tmp_path,
        "import subprocess\n"
        "code = 'import time; time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', code])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "os.rename('pids', 'written')\n"
        "time.sleep(600)",
    )

    async def run() -> None:
        # Long enough to start: the deadline comes from outside.
        sending = asyncio.create_task(sent(target(TO), given=given))
        while not (tmp_path / "written").exists():
            await asyncio.sleep(0.02)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    asyncio.run(run())

    for pid in (tmp_path / "written").read_text().split():
        deadline = time.monotonic() + arrange.PATIENT
        while not is_gone(int(pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody waited for counts too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


# What can subscribe ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "options", "told"),
    [
        ("mailto:", {}, "one address"),
        ("mailto:ada", {}, "one address"),
        ("mailto:@example.org", {}, "one address"),
        ("mailto:a@b.c,d@e.f", {}, "one address"),
        ("mailto:a@b.c%2Cd@e.f", {}, "one address"),
        ("mailto:a@b.c%0D%0ABcc:e@f.g", {}, "one address"),
        ("mailto:a@b.c\r\nBcc: e@f.g", {}, "one address"),
        ("mailto:Ada <a@b.c>", {}, "one address"),
        ("mailto://a@b.c", {}, "one address"),
        ("mailto:a@b.c?subject=x%0D%0ABcc:e@f.g", {}, "the subject of subscriber"),
        ("mailto:a@b.c?subject=x%00", {}, "the subject of subscriber"),
        (TO, {"subject": "x\nBcc: e@f.g"}, "options.subject must be"),
        (TO, {"subject": "x\u2028y"}, "options.subject must be"),
        (TO, {"subject": 1}, "options.subject must be"),
        (TO, {"subject": "x" * 513}, "options.subject must be"),
        (TO, {"from": "x\rBcc: e@f.g"}, "options.from must be"),
        (TO, {"from": ["x"]}, "options.from must be"),
        (TO, {"from": "\ud800"}, "options.from must be"),
    ],
)
def test_what_cannot_be_mailed_is_refused_by_name(
    uri: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        check(uri, options, arrange.OPEN, ("mailto",))


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        (TO, {"from": "Jack", "subject": "Hello"}),
        ("MAILTO:a.b+c@example.org?subject=x", {"from": None, "subject": None}),
        ("mailto:a%2Bb@example.org", {}),
    ],
)
def test_what_can_be_mailed_is_accepted(uri: str, options: dict[str, Any]) -> None:
    check(uri, options, arrange.OPEN, ("mailto",))
