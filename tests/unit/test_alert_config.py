"""The section `alerts`: what it may say, what is told of what it may not, and that no address is ever shown."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tillwatch.cli.app import app
from tillwatch.config import load
from tillwatch.config.alerts import Alerts, Rule
from tillwatch.errors import ConfigError
from tillwatch.pipeline import Pipeline
from tillwatch.testing.servers.inbox import mail_server, webhook

FULL = """\
alerts:
  channels: {ops: "mailto://mail.example/?from=till@bank.example&to=ops@bank.example", chat: "${CHAT}"}
  file_failed: {channels: [ops]}
  no_new_chunk: 10min
  lag: {over: 50, channels: [ops, chat]}
  quarantine_share: {over: 2.5%, chunks: 100}
  unreachable: {after: "${AFTER}"}
  detections: {PatId1: [chat], PatId2: }
  settle: 0s
  digest: 2h
  per_hour: 5
"""
ADDRESSES = ["slack://planted-a/planted-b/planted-c", "mailto://u:planted-p@h/", "https://hooks.example/planted-x"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration without alerts, of which all else is right."""
    (tmp_path / "t.csv").write_text("step,customer,gender,merchant,category,amount\n1,a,F,m,c,1\n")
    path = tmp_path / "tillwatch.yaml"
    path.write_text("source: ./t.csv\npatterns: [PatId2, PatId3]\n", "utf-8")
    return path


def alerts_of(config: Path, text: str, **environ: str) -> Alerts:
    """The alerts that a text says."""
    config.write_text(config.read_text("utf-8") + text, "utf-8")
    return load(config, (), environ).alerts


def call(config: Path, *words: str, **environ: str) -> Result:
    """A command, run here."""
    return CliRunner().invoke(app, [*words, "-c", str(config)], env=environ)


def test_everything_said(config: Path) -> None:
    """Short and long forms, with values from the environment."""
    alerts = alerts_of(config, FULL, CHAT="slack://a/b/c", AFTER="90")
    assert dict(alerts.rules()) == {
        ("file_failed",): Rule(Decimal(0), ("ops",)),
        ("no_new_chunk",): Rule(Decimal(600)),
        ("lag",): Rule(Decimal(50), ("ops", "chat")),
        ("quarantine_share",): Rule(Decimal("2.5"), (), 100),
        ("unreachable",): Rule(Decimal(90)),
        ("detections", "PatId1"): Rule(channels=("chat",)),
        ("detections", "PatId2"): Rule(),
    }
    assert (alerts.settle, alerts.digest, alerts.per_hour) == (0, 7200, 5)
    assert alerts.channels_of("detections", "PatId1") == ("chat",)
    assert alerts.channels_of("no_new_chunk") == ("ops", "chat")


def test_without_the_section_there_are_no_alerts(config: Path) -> None:
    """Nor is anything a default."""
    assert list(alerts_of(config, "").rules()) == []


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("lag: 0", "4:8", "lag: found 0, expected a whole number of chunks from 1 up, or {over: CHUNKS"),
        ("lag: {ovr: 5}", "4:8", "lag: found a mapping, expected a whole number of chunks"),
        ("lag: {over: 5, chunks: 5}", "4:8", "lag: found a mapping, expected a whole number of chunks"),
        ("lag: {over: 5, channels: []}", "4:8", "lag: found a mapping, expected a whole number of chunks"),
        ("no_new_chunk: soon", "4:17", "no_new_chunk: found 'soon', expected a duration over 0 and up to 30 days"),
        ("no_new_chunk: 0", "4:17", "no_new_chunk: found 0, expected a duration over 0"),
        ("unreachable: 31d", "4:16", "unreachable: found '31d', expected a duration over 0 and up to 30 days"),
        ("quarantine_share: 0.05", "4:21", "quarantine_share: found 0.05, expected a share from 0% to 99.9999%"),
        ("quarantine_share: 100%", "4:21", "quarantine_share: found '100%', expected a share"),
        ("file_failed: yes", "4:16", "file_failed: found 'yes', expected true, false, or {channels"),
        ("detections: PatId1", "4:15", "detections: found 'PatId1', expected a list of pattern ids"),
        ("detections: [5]", "4:15", "detections: found a list, expected a text; put it in quotes"),
        ("per_hour: 0", "4:13", "per_hour: found 0, expected a whole number from 1 to 3600"),
        ("chanels: {}", "4:3", "chanels: unknown key; did you mean 'channels'?"),
        ("channels: {1x: 'json://h'}", "4:14", "channels: found the key '1x', expected a name of letters"),
        ("channels: {x: h}", "4:17", "channels.x: found ***, expected the address of a channel"),
    ],
)
def test_wrong_values_are_told_with_their_place(config: Path, text: str, where: str, message: str) -> None:
    """File, line and column, what was found and what was expected."""
    with pytest.raises(ConfigError) as error:
        alerts_of(config, f"alerts:\n  {text}\n")
    assert f"{config}:{where}: alerts.{message}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("lag: 5", "4:8", "alerts.lag: there is no channel to tell it to; name one in alerts.channels"),
        ("lag: {over: 5, channels: [opps]}", "4:8", "alerts.lag: unknown channel 'opps'; did you mean 'ops'?"),
        ("detections: [PatId7]", "4:15", "this pattern is not among the patterns; did you mean 'PatId3'?"),
        ("detections: {PatId2: [x]}", "4:24", "alerts.detections.PatId2: unknown channel 'x'; expected one of ops"),
    ],
)
def test_names_must_be_those_of_channels_and_patterns(config: Path, text: str, where: str, message: str) -> None:
    """`check` says which is not, and where."""
    channels = "" if "no channel" in message else "  channels: {ops: 'json://127.0.0.1/x'}\n"
    config.write_text(f"{config.read_text('utf-8')}alerts:\n  {text}\n{channels}", "utf-8")
    result = call(config, "check")
    assert result.exit_code == 2
    assert f"{config}:{where}: " in result.stderr
    assert message in result.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("slack://planted-a", "is not an address of Slack; see what Apprise says of slack://"),
        ("slak://planted-a", "'slak' is no service that Apprise knows; did you mean 'slack'?"),
        ("zzzz://planted-a", "'zzzz' is no service that Apprise knows; see the list of Apprise"),
        ("https://hooks.example/planted-a", "no service is known by this https address; a webhook is jsons://…"),
    ],
)
def test_check_says_which_address_is_none(config: Path, address: str, message: str) -> None:
    """With its place, and without showing it; a run does not begin either."""
    alerts_of(config, 'alerts: {channels: {chat: "${CHAT}"}, lag: 5}\n', CHAT=address)
    for command in (["check"], ["run", "--once"], ["alerts", "test"]):
        result = call(config, *command, CHAT=address)
        assert result.exit_code == 2
        assert f"{config}:3:27: alerts.channels.chat: {message}" in result.stderr
        assert "planted" not in result.output
    assert not (config.parent / "tillwatch-data" / "landing").exists()


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_must_come_from_the_environment(config: Path, address: str) -> None:
    """In the file, or on the command line, it is refused and not shown."""
    with pytest.raises(ConfigError) as error:
        alerts_of(config, f'alerts: {{channels: {{x: "{address}"}}}}\n')
    assert "3:24: alerts.channels.x: a secret must not stand in the configuration" in str(error.value)
    for override in (f"alerts.channels.x={address}", f"alerts={{channels: {{x: '{address}'}}}}", f"alerts={address}"):
        with pytest.raises(ConfigError) as error:
            load(config, [override], {})
        assert "planted" not in str(error.value)


def test_parts_of_an_address_may_be_secret(config: Path) -> None:
    """Headers and passwords in what follows the question mark."""
    for wrong in ("json://h/?+Authorization=planted", "mailto://h/?user=u&pass=planted", "jsons://h/?token=planted"):
        config.write_text("source: x", "utf-8")
        with pytest.raises(ConfigError, match="a secret must not stand in the configuration"):
            alerts_of(config, f'\nalerts: {{channels: {{x: "{wrong}"}}}}\n')
    config.write_text("source: x", "utf-8")
    right = "json://h/?+Authorization=${KEY}&-a=b"
    assert alerts_of(config, f'\nalerts: {{channels: {{x: "{right}"}}}}\n', KEY="planted").channels


def test_no_text_of_the_settings_shows_an_address(config: Path) -> None:
    """However they are printed."""
    alerts_of(config, 'alerts: {channels: {chat: "${CHAT}"}, lag: 5}\n', CHAT=ADDRESSES[0])
    settings = load(config, (), {"CHAT": ADDRESSES[0]})
    shown = (
        f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()} {Pipeline(settings).settings}"
    )
    assert "planted" not in shown


def test_check_shows_the_rules(config: Path) -> None:
    """Channels by name, and each rule with who is told."""
    config.write_text(config.read_text("utf-8") + FULL.replace("PatId1", "PatId3"), "utf-8")
    result = call(config, "check", CHAT="slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", AFTER="90")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    start = lines.index("alerts      channel ops")
    assert [line.strip() for line in lines[start + 1 : start + 9]] == [
        "channel chat",
        "a source file that failed: told to ops",
        "no new chunk for 10 min: told to all",
        "over 50 chunks behind: told to ops, chat",
        "over 2.5% of the rows of 100 chunks quarantined: told to all",
        "a place that cannot be reached for 90 s: told to all",
        "detections of PatId3: told to chat",
        "detections of PatId2: told to all",
    ]
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in result.output


def test_a_test_message_is_sent(config: Path) -> None:
    """To every channel, or to one; what was not taken is told, by its name only, and is exit code 1."""
    text = 'alerts: {channels: {hook: "${HOOK}", mail: "${MAIL}"}}\n'
    config.write_text(config.read_text("utf-8") + text, "utf-8")
    with webhook() as hook, mail_server() as mail:
        environ = {"HOOK": hook.address, "MAIL": mail.address}
        result = call(config, "alerts", "test", **environ)
        assert result.exit_code == 0, result.output
        assert [line.split(" in ")[0] for line in result.stdout.splitlines()] == [
            "hook: sent to JSON",
            "mail: sent to E-Mail",
        ]
        assert hook.titles == mail.titles == ["t.csv: test"]
        assert "This is a test of the channel mail" in mail.messages[0][1]
        assert call(config, "alerts", "test", "hook", **environ).exit_code == 0
        assert (len(hook.titles), len(mail.titles)) == (2, 1)
        hook.status = 500
        result = call(
            config, "alerts", "test", **environ | {"MAIL": mail.address.replace("planted-hunter2", "planted")}
        )
        assert result.exit_code == 1
        assert "hook: JSON: refused with status 500" in result.stderr
        assert "mail: E-Mail: no connection, no answer in time, or a login that is refused" in result.stderr
        assert "planted" not in result.output
        assert call(config, "alerts", "test", "hok", **environ).exit_code == 2


def test_there_must_be_channels_to_test(config: Path) -> None:
    """Else the call is wrong."""
    result = call(config, "alerts", "test")
    assert (result.exit_code, "there are no channels" in result.stderr or "has no channels" in result.stderr) == (
        2,
        True,
    )
