# SPDX-License-Identifier: Apache-2.0
"""Delivers to mailto: one mail for each message, by a mail server or a command."""

import asyncio
import os
import re
import signal
import socket
from contextlib import suppress
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Any
from urllib.parse import parse_qsl, unquote

from oslo_log import log

from zaqar.errors import InvalidRequest
from zaqar.notification.senders.base import DeliveryFailed, Options, Target, Tools
from zaqar.notification.settings import NotificationSettings, SmtpSettings

LOG = log.getLogger(__name__)

# At once; others wait for their turn.
MAX_MAILS = 10
MAX_HEADER = 512
# One plain address: the local part may have what needs no quotes.
ADDRESS = re.compile(
    r"[\w!#$%&'*+=?^`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?",
    re.ASCII,
)
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
# What a command answers that could not do it now (sysexits: EX_TEMPFAIL).
TRY_AGAIN = 75


class Mail:
    """A sender."""

    def __init__(self, tools: Tools) -> None:
        self._smtp, self._tls = tools.settings.smtp, tools.tls
        self._turns = asyncio.Semaphore(MAX_MAILS)

    @staticmethod
    def check(
        subscriber: str, options: Options, settings: NotificationSettings
    ) -> None:
        read(subscriber, options)

    async def deliver(self, target: Target) -> int | None:
        mail = written(target, self._smtp)
        async with self._turns:
            if self._smtp.command:
                await _pipe(self._smtp.command, mail.as_bytes(policy=policy.default))
            else:
                await _hand_over(mail, self._smtp, self._tls)
        return None


def read(subscriber: str, options: Options) -> tuple[str, str]:
    """Return address and subject. Raises InvalidRequest."""
    path, _, query = subscriber.partition(":")[2].partition("?")
    address = unquote(path)
    if not ADDRESS.fullmatch(address):
        raise InvalidRequest("subscriber must be mailto: and one address.")
    # Of a mailto URI a plus is a plus.
    fields = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    named = [value for name, value in fields if name.lower() == "subject"]
    if named:
        return address, _header("the subject of subscriber", named[0])
    _header("options.from", options.get("from"))
    return address, _header("options.subject", options.get("subject"))


def _header(field: str, value: object) -> str:
    """Return the value of a header. SECURITY: with a line end it would be two."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_HEADER or CONTROL.search(value):
        raise InvalidRequest(
            f"{field} must be a string of at most {MAX_HEADER} characters, without "
            "control characters."
        )
    return value


def written(target: Target, smtp: SmtpSettings) -> EmailMessage:
    """Return the mail to a subscriber. Raises InvalidRequest."""
    address, subject = read(target.subscriber, target.options)
    sender = _header("options.from", target.options.get("from"))
    text = target.notification.document.decode()
    if target.notification.mail is not None:
        # Of an operator's template, with names of queue and project in it.
        mail = target.notification.mail
        subject, text = CONTROL.sub(" ", mail.topic), mail.body
        sender = CONTROL.sub(" ", mail.sender)
    message = EmailMessage(policy=policy.SMTP)
    message["To"] = Address(addr_spec=address)
    message["From"] = _sender(sender, smtp)
    message["Subject"] = subject
    message["Date"] = formatdate()
    delivery = re.sub(r"[^\w.-]", "-", target.delivery, flags=re.ASCII)
    message["Message-ID"] = f"<{delivery}@{_domain()}>"
    # Nobody's absence notice shall answer.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def _sender(text: str, smtp: SmtpSettings) -> Address:
    """Return who a mail is from: an address, or a name and the service's address."""
    name, address = parseaddr(text)
    if ADDRESS.fullmatch(address):
        return Address(display_name=name, addr_spec=address)
    own = smtp.user if ADDRESS.fullmatch(smtp.user) else f"zaqar@{_domain()}"
    return Address(display_name=text, addr_spec=own)


def _domain() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip(".-") or "zaqar"


async def _hand_over(mail: EmailMessage, smtp: SmtpSettings, tls: Any) -> None:
    """Give a mail to the server. Raises DeliveryFailed."""
    import aiosmtplib

    try:
        await aiosmtplib.send(
            mail,
            hostname=smtp.host,
            port=smtp.port,
            username=smtp.user or None,
            password=smtp.password if smtp.user else None,
            use_tls=smtp.security == "tls",
            start_tls=smtp.security == "starttls",
            tls_context=tls if smtp.security != "none" else None,
            # It would be looked up, and hold up everything else meanwhile.
            local_hostname=_domain(),
            timeout=None,
        )
    except aiosmtplib.SMTPAuthenticationError as error:
        LOG.error("The mail server %s refuses the login: %s", smtp.host, error)
        raise DeliveryFailed("The mail server refuses us.", final=True) from error
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = [refused.code for refused in error.recipients]
        raise DeliveryFailed(
            "The mail server refuses the address.", final=min(codes) >= 500
        ) from error
    except aiosmtplib.SMTPResponseException as error:
        LOG.warning("The mail server %s refuses a mail: %s", smtp.host, error)
        raise DeliveryFailed(
            "The mail server refuses the mail.", final=error.code >= 500
        ) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        LOG.warning("The mail server %s does not take mails: %s", smtp.host, error)
        raise DeliveryFailed("The mail server does not answer as it should.") from error


async def _pipe(command: tuple[str, ...], mail: bytes) -> None:
    """Give a mail to a command. Raises DeliveryFailed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        LOG.error("[notification] smtp_command: %s", error)
        raise DeliveryFailed("The mail command cannot be run.") from error
    try:
        await process.communicate(mail)
    finally:
        # At the deadline; it may have started others.
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        LOG.warning("[notification] smtp_command ends with %d.", process.returncode)
        raise DeliveryFailed(
            "The mail command fails.", final=process.returncode != TRY_AGAIN
        )
