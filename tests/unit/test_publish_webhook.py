"""A webhook gets each detection signed, in order, and in effect once; refusals are told apart from bad moments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tillwatch.config import Output as OutputSettings
from tillwatch.config.mounted import secret_of
from tillwatch.errors import OutputUnavailable, PublishError
from tillwatch.publish.output import Batch, Output
from tillwatch.publish.outputs import open_output
from tillwatch.publish.webhook import Webhook, signature
from tillwatch.state.base import FilePlan
from tillwatch.testing.servers.webhook import Receiver, Trouble, receiver

SECRET = "planted-hunter2"


class StoppedClock:
    """Says one moment."""

    def now(self) -> str:
        return "2026-11-20T13:05:07.123+05:30"


@pytest.fixture
def there() -> Iterator[Receiver]:
    """A receiver at work."""
    with receiver(SECRET) as known:
        yield known


def hook(url: str, secret: str = SECRET) -> Output:
    """A webhook to `url`."""
    return Webhook(url, lambda: secret, StoppedClock())  # type: ignore[arg-type]


def batch(first: int, last: int) -> Batch:
    """Detections with these numbers."""
    records = [
        {"id": f"id{n}", "seq": n, "customerName": "Ünal", "evidence": {"chunk": n}} for n in range(first, last + 1)
    ]
    return Batch(FilePlan("f.csv", first, last), "s", records)


def test_each_detection_is_posted_signed_in_order(there: Receiver) -> None:
    """One request each, with a signature that the receiver finds right, and the record as its body."""
    hook(there.url).deliver(batch(1, 3))
    assert (there.wrong, there.requests) == ([], 3)
    assert list(there.taken.values()) == list(batch(1, 3).records)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification gives the signature that is printed there."""
    body = b'{"test": 2432232314}'
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, secret)
    assert signed == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(PublishError, match="what follows is not base64"):
        signature("x", 0, body, "whsec_not base64!")


def test_what_was_delivered_again_is_taken_once(there: Receiver) -> None:
    """After a crash all of a batch comes again; the receiver knows each by its key."""
    hook(there.url).deliver(batch(1, 3))
    hook(there.url).deliver(batch(1, 3))
    assert there.requests == 6
    assert list(there.taken) == ["id1", "id2", "id3"]


@pytest.mark.parametrize("kind", ["lost", "reset"])
def test_a_try_goes_on_where_the_last_one_ended(kind: str, there: Receiver) -> None:
    """A connection that breaks in the middle of a batch is a bad moment; what came before is not sent again."""
    there.troubles.extend([Trouble(204), Trouble(kind=kind)])  # type: ignore[arg-type]
    output = hook(there.url)
    with pytest.raises(OutputUnavailable, match=r"detection 2 \(id2\) could not be delivered: "):
        output.deliver(batch(1, 3))
    output.deliver(batch(1, 3))
    assert there.requests == 4
    assert [r["seq"] for r in there.taken.values()] == [1, 2, 3]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_receiver_may_ask_for_time(status: int, there: Receiver) -> None:
    """These answers are for now, and Retry-After says for how long."""
    there.troubles.append(Trouble(status, {"retry-after": "17"}))
    with pytest.raises(OutputUnavailable, match=f"was refused with status {status}") as caught:
        hook(there.url).deliver(batch(1, 1))
    assert caught.value.after == 17


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "ask the receiver why"),
        (404, "check the address"),
        (301, "the receiver has moved"),
        (413, "bodies of this"),
    ],
)
def test_a_refusal_is_told(status: int, advice: str, there: Receiver) -> None:
    """Other answers will not change by themselves: the error says which detection, where, and what to do."""
    there.troubles.append(Trouble(status, {"location": "http://127.0.0.1:1/"}))
    with pytest.raises(PublishError, match=advice) as caught:
        hook(there.url).deliver(batch(1, 1))
    assert not isinstance(caught.value, OutputUnavailable)
    assert str(caught.value).startswith(there.url.removesuffix("/hooks/told-to-nobody") + ": detection 1 (id1) was ref")


def test_nobody_there_is_a_bad_moment() -> None:
    """A port where nobody listens is told with the host, and tried again later."""
    with pytest.raises(
        OutputUnavailable, match=r"http://127.0.0.1:9: detection 1 \(id1\) could not be delivered: .*refused"
    ):
        hook("http://127.0.0.1:9/hooks/told-to-nobody").deliver(batch(1, 1))


def test_a_secret_is_read_anew(there: Receiver, tmp_path: Path) -> None:
    """After the file of the secret was replaced, the next try is signed with the new one."""
    file = tmp_path / "secret"
    file.write_text("an old one\n")
    settings = OutputSettings(format="webhook", uri=there.url, secret_file=str(file))
    output = open_output(settings, store=None, clock=StoppedClock())  # type: ignore[arg-type]
    with pytest.raises(PublishError, match="status 401: check that both sides have the same secret"):
        output.deliver(batch(1, 1))
    file.write_text(f"{SECRET}\n")
    output.deliver(batch(1, 1))
    assert list(there.taken) == ["id1"]


def test_a_secret_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The variable or the file is named, with what to do."""
    assert secret_of("HOOK", None, {"HOOK": SECRET})() == SECRET
    with pytest.raises(PublishError, match="the environment variable HOOK holds no secret; set it"):
        secret_of("HOOK", None, {})()
    with pytest.raises(PublishError, match=f"the secret in {tmp_path}/none cannot be read: No such file"):
        secret_of(None, f"{tmp_path}/none")()


@pytest.mark.parametrize("trouble", [Trouble(500), Trouble(404), Trouble(kind="reset")])
def test_no_error_shows_a_secret(trouble: Trouble, there: Receiver) -> None:
    """Neither the secret nor the path of the address, which may be one, is in an error or in the place."""
    there.troubles.append(trouble)
    output = hook(there.url)
    with pytest.raises(PublishError) as caught:
        output.deliver(batch(1, 1))
    said = f"{caught.value} {caught.value!r} {output.place} {output!r}"
    assert SECRET not in said
    assert "told-to-nobody" not in said
