# SPDX-License-Identifier: Apache-2.0
"""`zaqar-manage`: parse, open, run one command, answer.

Exit codes: 0 done; 1 it could not be done, or the doctor found an error; 2 the command
line is wrong.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from typing import cast

from zaqar import conf
from zaqar.conf import Settings
from zaqar.errors import ZaqarError
from zaqar.manage import commands, doctor, output
from zaqar.manage.commands import DELIVERIES, PROGRAM, QUOTAS
from zaqar.manage.opened import opened, opened_store
from zaqar.manage.output import Answer
from zaqar.masking import masked

# What shells answer for a command that Ctrl-C ended.
INTERRUPTED = 130
POOLING_IS_OFF = (
    "Pooling is off: servers with this configuration do not look at pools. "
    "[DEFAULT] pooling = true turns it on."
)
QUOTAS_ARE_OFF = (
    "Servers with this configuration do not look at the quotas of projects. "
    "[quota] per_project = true lets them."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `zaqar-manage` and return its exit code."""
    wanted = commands.parser().parse_args(arguments)
    try:
        answer = _run(wanted)
    except ZaqarError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    for note in answer.notes:
        _say(note)
    is_json = wanted.format == "json"
    try:
        print(output.json(answer.document) if is_json else answer.text, flush=True)
    except BrokenPipeError:
        # Whoever reads has read enough. What is left must not be written at the end.
        sys.stdout = None
    return answer.code


def _run(wanted: Namespace) -> Answer:
    """Run the command. Raises ZaqarError."""
    arguments = [f"--config-file={path}" for path in wanted.config_file or ()]
    arguments += [f"--config-dir={path}" for path in wanted.config_dir or ()]

    def load() -> Settings:
        return conf.load(arguments, program=PROGRAM)

    if wanted.run is None:
        return doctor.run(load)
    settings = load()
    wanted.defaults = settings.quotas.defaults
    if wanted.about == DELIVERIES:
        with closing(opened_store(settings)) as store:
            return cast(Answer, wanted.run(store, wanted))
    if wanted.about == QUOTAS:
        if not settings.quotas.per_project:
            _say(QUOTAS_ARE_OFF)
    elif settings.registry is None:
        _say(POOLING_IS_OFF)
    with closing(opened(settings)) as pools:
        answer: Answer = wanted.run(pools, wanted)
        return answer


def _say(text: str) -> None:
    print(f"{PROGRAM}: {masked(text)}", file=sys.stderr)
