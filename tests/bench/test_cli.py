# SPDX-License-Identifier: Apache-2.0
"""Short runs of the whole tool against the fake service."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys

import pytest

from zaqar.bench import cli, options

QUIET = ["--warmup", "0", "--json", "--quiet"]
SHORT = ["--duration", "0.3", *QUIET]
# The first does on most machines; a busy one may not serve a request in it.
SECONDS = (0.3, 2, 10, 30)
EACH = ("post", "claim", "delete", "list", "stats")


@pytest.fixture(autouse=True)
def signals():
    """Give the signals back that the tool takes."""
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def bench(capsys, url, *arguments, until=()):
    """Run the tool and return its document.

    It runs again and longer until each operation that `until` names was answered ten
    times: how much is done in a moment is the machine's affair.
    """
    where = ["--url", url] if url else []
    for seconds in SECONDS:
        duration = ["--duration", str(seconds)]
        assert cli.main([*where, *duration, *QUIET, *arguments]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        found = json.loads(lines[0])
        if all(answered(found, operation) >= 10 for operation in until):
            break
    return found


def answered(found, operation):
    """Return how many requests of an operation were answered, at the least target."""
    return min(
        found[part]["operations"].get(operation, {"requests": 0})["requests"]
        for part in ("service", "bare")
        if part in found
    )


def url(server):
    return f"http://127.0.0.1:{server.port}"


def queue_names(server):
    """Return the queues that the fake service has."""
    wire = http.client.HTTPConnection("127.0.0.1", server.port)
    with contextlib.closing(wire):
        wire.request("GET", "/v2/queues")
        return json.loads(wire.getresponse().read())["queues"]


@pytest.mark.parametrize("consume", ["delete", "bulk", "pop"])
def test_a_run_with_all_roles_loses_and_repeats_nothing(capsys, service, consume):
    found = bench(
        capsys, url(service), "--consume", consume, "--queues", "2", until=["post"]
    )

    messages = found["service"]["messages"]
    assert messages["acknowledged"] > 0
    assert messages["delivered"] == messages["acknowledged"]
    assert (messages["lost"], messages["duplicated"], messages["left"]) == (0, 0, 0)
    assert found["service"]["errors"] == {}
    assert found["service"]["interrupted"] is False


def test_the_document_has_rates_latencies_and_costs(capsys, service):
    pid = str(service.process.pid)

    asked = ["--server-pid", pid, "--processes", "2"]
    found = bench(capsys, url(service), *asked, until=EACH)

    part = found["service"]
    names = {"requests", "per_second", "messages", "max_ms"}
    names |= {"p50_ms", "p90_ms", "p99_ms", "p99_9_ms"}
    assert set(EACH) <= set(part["operations"])
    assert all(set(row) == names for row in part["operations"].values())
    post = part["operations"]["post"]
    assert 0 < post["p50_ms"] <= post["p99_ms"] <= post["p99_9_ms"] <= post["max_ms"]
    assert part["end_to_end"]["p50_ms"] > 0
    assert part["server"]["cpu_us_per_request"] > 0
    assert part["server"]["cpu_us_per_message"] > 0
    assert part["client"]["cpu_us_per_request"] > 0
    assert part["messages"]["lost"] == part["messages"]["duplicated"] == 0


@pytest.mark.parametrize(
    ("op", "answered_operations"),
    [
        ("post", {"post"}),
        ("claim-delete", {"claim", "delete"}),
        ("claim-bulk", {"claim", "bulk-delete"}),
        ("pop", {"pop"}),
        ("list", {"list"}),
        ("stats", {"stats"}),
        ("get", {"get"}),
        ("relay", {"post", "claim", "delete"}),
    ],
)
def test_one_operation_is_measured_by_itself(capsys, service, op, answered_operations):
    asked = ["--op", op, "--connections", "2"]
    found = bench(capsys, url(service), *asked, until=answered_operations)

    part = found["service"]
    assert found["operation"] == op
    assert set(part["operations"]) - {"claim-empty"} == answered_operations
    assert part["messages"] is part["end_to_end"] is None
    assert part["errors"] == {}
    taking = op in ("claim-delete", "claim-bulk", "pop", "relay")
    assert (part["taken_per_second"] > 0) is taking


def test_a_relay_finds_ten_messages_with_each_claim(capsys, service):
    asked = ["--op", "relay", "--connections", "4"]
    found = bench(capsys, url(service), *asked, until=["claim"])

    claims = found["service"]["operations"]["claim"]
    assert "claim-empty" not in found["service"]["operations"]
    assert claims["messages"] == 10 * claims["requests"] > 0


def test_lost_messages_are_found(capsys, broken):
    server = broken(ZAQAR_FAKE_LOSE="7")

    messages = bench(capsys, url(server), until=["post"])["service"]["messages"]

    assert messages["lost"] == messages["acknowledged"] // 7
    assert messages["duplicated"] == 0
    assert messages["lost_examples"]


def test_duplicated_messages_are_found(capsys, broken):
    server = broken(ZAQAR_FAKE_REPEAT="7")

    found = bench(capsys, url(server), "--consume", "pop", until=["post"])
    messages = found["service"]["messages"]

    assert messages["duplicated"] == messages["acknowledged"] // 7
    assert messages["lost"] == 0


def test_errors_are_counted_by_status_and_shown(capsys, broken):
    server = broken(ZAQAR_FAKE_FAIL="5")

    part = bench(capsys, url(server), until=["post"])["service"]

    assert part["errors"]["post 503"] > 0
    assert "Out of order" in part["samples"]["post 503"]
    assert part["messages"]["lost"] == part["messages"]["duplicated"] == 0


def test_a_rate_is_kept_to(capsys, service):
    part = bench(capsys, url(service), "--op", "post", "--rate", "100")["service"]

    assert part["operations"]["post"]["requests"] <= 45


def test_the_queues_of_a_run_are_removed_unless_kept(capsys, broken):
    server = broken()

    bench(capsys, url(server), "--queues", "3", "--op", "post")
    assert queue_names(server) == []
    bench(capsys, url(server), "--queues", "3", "--op", "post", "--keep")
    assert len(queue_names(server)) == 3


def test_the_bare_application_is_measured_in_turns_with_the_service(capsys, service):
    pid = str(service.process.pid)
    more = ["--limit", "--limit-workers", "1", "--slices", "2", "--server-pid", pid]

    found = bench(capsys, url(service), *more, "--op", "post", until=["post"])

    assert found["bare"]["operations"]["post"]["requests"] > 0
    ratios = found["ratios"]
    assert ratios["rate"] > 0
    assert ratios["unit_us"] == found["bare"]["server"]["cpu_us_per_request"]
    assert ratios["units_per_request"] > 0


def test_the_bare_application_alone_answers_every_operation(capsys):
    asked = ["--limit", "--limit-workers", "1", "--processes", "2"]
    found = bench(capsys, "", *asked, until=EACH)

    assert "service" not in found
    assert found["bare"]["errors"] == {}
    assert set(EACH) <= set(found["bare"]["operations"])


def test_tables_and_progress_are_printed_for_people(capsys, service):
    arguments = ["--url", url(service), "--duration", "1.2", "--warmup", "0"]

    assert cli.main(arguments) == 0

    printed = capsys.readouterr()
    assert "requests/s" in printed.err
    assert "0 lost, 0 duplicated" in printed.out
    assert "post to take" in printed.out


def test_nobody_listening_is_an_error_and_not_a_hang(capsys):
    assert cli.main(["--url", "http://127.0.0.1:1", *SHORT]) == 1

    assert "zaqar-bench: PUT" in capsys.readouterr().err


def test_an_interrupted_run_prints_what_it_has(service):
    command = [sys.executable, "-m", "zaqar.bench.cli", "--url", url(service), "--json"]
    with subprocess.Popen(
        [*command, "--duration", "60", "--warmup", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stderr.readline()  # a line of progress: it runs
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)

    found = json.loads(out)
    assert process.returncode == 0
    assert found["service"]["interrupted"] is True
    assert found["service"]["operations"]["post"]["requests"] > 0


def test_a_server_that_dies_ends_in_counted_errors(capsys, broken):
    server = broken()
    command = [sys.executable, "-m", "zaqar.bench.cli", "--url", url(server), "--json"]
    quick = ["--duration", "1.5", "--warmup", "0", "--timeout", "1", "--drain", "0"]
    with subprocess.Popen(
        [*command, *quick], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stderr.readline()
        os.killpg(server.process.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "messages not checked" in err
    found = json.loads(out)["service"]
    assert found["messages"] is None
    assert any("no connection" in name for name in found["errors"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "https://example.test"],
        ["--message-size", "10"],
        ["--producers", "0", "--consumers", "0", "--observers", "0"],
        ["--op", "dance"],
        ["--duration", "0"],
        ["--warmup", "-1"],
        ["--header", "no colon"],
        ["--queues", "0"],
    ],
)
def test_senseless_options_are_refused(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        options.parse(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_the_default_target_is_on_loopback():
    assert options.parse([]).url == "http://127.0.0.1:8888"
    assert options.parse(["--limit"]).url is None
