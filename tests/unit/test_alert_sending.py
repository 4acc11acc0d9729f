"""Channels: messages arrive in order; one that is down or hangs keeps nobody waiting, and nothing secret is told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pydantic import SecretStr

from tillwatch.alerts.alert import Alert, Kind
from tillwatch.alerts.channels import ChannelError, open_channel
from tillwatch.alerts.message import Letterhead, summary
from tillwatch.alerts.outgoing import Outgoing
from tillwatch.alerts.sender import Sender
from tillwatch.clock import SystemClock
from tillwatch.testing.servers.inbox import Inbox, mail_server, webhook

SERVERS = {"hook": webhook, "mail": mail_server}
HEAD = Letterhead("bank.csv", "./state.db", "run", {"P": "Call the customer.\n"})


@pytest.fixture(params=SERVERS)
def inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    """Each kind of receiver."""
    with SERVERS[request.param]() as there:
        yield there


class Sending:
    """A sender to an inbox, with what it said."""

    def __init__(self, inbox: Inbox, per_hour: int = 100, delays: tuple[float, ...] = (0.05,) * 3) -> None:
        self.told: list[Alert] = []
        self.notices: list[str] = []
        channel = open_channel("ops", SecretStr(inbox.address))
        outgoing = Outgoing(per_hour, lambda titles: summary("bank.csv", titles), delays)
        self.clock = SystemClock()
        self.sender = Sender("ops", channel.send, outgoing, self.clock, self.told.append, self.notices.append)

    def offer(self, *titles: str) -> None:
        """Alerts with these titles."""
        for title in titles:
            alert = Alert("lag", "began", title, "noon", "noon")
            self.sender.offer(HEAD.message(alert), alert)

    def end(self, seconds: float = 20.0) -> None:
        """The end of the run, with so much time."""
        self.sender.end()
        self.sender.join(self.clock.monotonic() + seconds)


def test_messages_arrive_in_order(inbox: Inbox) -> None:
    """With what there is to know, and each is told to have arrived."""
    sending = Sending(inbox)
    sending.offer("one", "two", "three")
    sending.end()
    assert inbox.titles == ["bank.csv: one", "bank.csv: two", "bank.csv: three"]
    assert [alert.title for alert in sending.told] == ["one", "two", "three"]
    assert sending.notices == []
    for said in ("One.", "bank.csv, run on ", "./state.db", "Since: noon", "What to do: ", "docs/alerts.md#lag"):
        assert said in inbox.messages[0][1]


def test_a_message_is_tried_again(inbox: Inbox) -> None:
    """While the receiver refuses, said once; when it takes messages again all of them arrive, which is said too."""
    sending = Sending(inbox, delays=(0.05,) * 1000)
    inbox.status = 500
    sending.offer("one", "two")
    inbox.wait_for(lambda i: i.tries > 3)
    inbox.status = 200
    inbox.wait_for(lambda i: len(i.messages) == 2)
    sending.end()
    assert inbox.titles == ["bank.csv: one", "bank.csv: two"]
    assert len(sending.notices) == 2
    assert sending.notices[0].startswith("alerts: channel ops: ")
    assert sending.notices[0].endswith("It is tried again, the pipeline goes on")
    assert sending.notices[1] == "alerts: channel ops: works again"


def test_what_is_given_up_is_counted(inbox: Inbox) -> None:
    """Each message that nobody got is told with its title, and how many there are by now."""
    sending = Sending(inbox, delays=(0.01,))
    inbox.status = 500
    sending.offer("one", "two", "three")
    inbox.wait_for(lambda i: i.tries >= 5)  # the third one has its turn
    sending.end()
    assert [notice.partition("gave up on ")[2] for notice in sending.notices[1:3]] == [
        "'tillwatch: bank.csv: one'; 1 message dropped so far",
        "'tillwatch: bank.csv: two'; 2 messages dropped so far",
    ]
    assert sending.told == []


def test_too_many_messages_are_summed_up(inbox: Inbox) -> None:
    """What is beyond the limit comes in one message at the end, and counts as told."""
    sending = Sending(inbox, per_hour=2)
    sending.offer("one", "two", "three", "four", "four")
    inbox.wait_for(lambda i: len(i.messages) == 2)
    sending.end()
    assert inbox.titles == ["bank.csv: one", "bank.csv: two", "bank.csv: 3 alerts held back"]
    assert "2 × tillwatch: bank.csv: four" in inbox.messages[2][1]
    assert len(sending.told) == 5


def test_a_receiver_that_hangs_keeps_nobody_waiting(inbox: Inbox) -> None:
    """Neither who offers messages nor the end; what was not sent is told."""
    sending = Sending(inbox)
    inbox.gate.clear()
    sending.offer("one")
    inbox.wait_for(lambda i: i.tries == 1)
    began = time.monotonic()
    sending.offer(*map(str, range(1000)))
    assert time.monotonic() - began < 1
    began = time.monotonic()
    sending.end(0.2)
    assert time.monotonic() - began < 1
    assert sending.notices == ["alerts: channel ops: 101 messages could not be sent before the end of the run"]


def test_a_receiver_that_hangs_holds_up_no_other(inbox: Inbox) -> None:
    """Each channel has a thread of its own."""
    with webhook() as other:
        stuck, free = Sending(inbox), Sending(other)
        inbox.gate.clear()
        stuck.offer("one")
        inbox.wait_for(lambda i: i.tries == 1)
        free.offer("two")
        free.end()
        assert other.titles == ["bank.csv: two"]
        stuck.end(0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda address: address.replace("planted-hunter2", "planted-hunter3"), "a login that is refused"),
        (lambda address: address.replace("127.0.0.1:", "127.0.0.1:1"), "no connection"),
    ],
)
def test_what_is_wrong_is_told_without_secrets(
    change: Callable[[str], str], reason: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong password, nobody there: the kind of failure is said, and nothing that the library logs is shown."""
    with caplog.at_level(logging.DEBUG), mail_server() as mail:
        channel = open_channel("ops", SecretStr(change(mail.address)))
        with pytest.raises(ChannelError) as error:
            channel.send(HEAD.test("ops"))
    assert reason in str(error.value)
    said = capfd.readouterr()
    assert "planted" not in f"{error.value} {error.value!r} {channel!r} {caplog.text} {said.out} {said.err}"


def test_redirects_are_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    """A receiver that has moved would get a request without its message: it is told instead."""
    with webhook() as hook:
        hook.status = 302
        with pytest.raises(ChannelError, match="refused with status 302"):
            open_channel("ops", SecretStr(hook.address)).send(HEAD.test("ops"))


def test_other_users_of_the_library_still_see_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """Only what it says in threads that send alerts is kept back."""
    import apprise

    with webhook() as hook:
        open_channel("ops", SecretStr(hook.address)).send(HEAD.test("ops"))
    assert caplog.records == []
    assert apprise.Apprise.instantiate("nosuch://x") is None
    assert caplog.records


@pytest.mark.parametrize(("kind", "first"), [("began", "What to do: "), ("ended", "More: ")])
def test_a_message_says_what_to_do_while_there_is_something(kind: Kind, first: str) -> None:
    """An end only says that it is over, and since when it was not."""
    body = HEAD.message(Alert("unreachable", kind, "x", "noon", "one", ("state",), ("no answer",))).body
    assert body.rpartition("\n\n")[2].startswith(first)
    assert ("Over at: one" in body) == (kind == "ended")
    assert "  no answer" in body


def test_a_message_of_detections_has_the_runbook_of_the_pattern() -> None:
    """What its author says is to be done comes first."""
    alert = Alert("detections", "told", "2 detections of P", "noon", "noon", ("P",), ("1: customer C",))
    assert "What to do: Call the customer. 'tillwatch explain NUMBER'" in HEAD.message(alert).body


def test_facts_show_no_secrets_and_stay_short() -> None:
    """An error's text may hold an address, and be long."""
    facts = ("no postgresql://u:hunter2@h/x\nat all", "x" * 10_000)
    body = HEAD.message(Alert("unreachable", "began", "x", "", "", ("state",), facts)).body
    assert "  no postgresql://u:***@h/x at all\n" in body
    assert len(body) < 2000


def test_a_summary_is_of_bounded_length() -> None:
    """However many different titles there are."""
    text = summary("x", {f"title {n}": 2 for n in range(1000)}).body
    assert "and 1,960 more" in text
    assert len(text.splitlines()) < 30


def test_senders_end_with_the_process() -> None:
    """A thread that hangs in a request does not keep Python from ending."""
    with ExitStack() as stack:
        hook = stack.enter_context(webhook())
        hook.gate.clear()
        sending = Sending(hook)
        sending.offer("one")
        hook.wait_for(lambda i: i.tries == 1)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("tillwatch-alerts")]
        assert threads and all(thread.daemon for thread in threads)
        sending.end(0.0)
