"""Settings and the flags made of them."""

import os

import pytest

from wise_serve.cli.flags import flag_of, settings_from, variable_of
from wise_serve.cli.main import main, make_parser
from wise_serve.settings import GROUPS, Settings, split_origins


def parse(*arguments: str) -> Settings:
    parser = make_parser()
    return settings_from(parser, vars(parser.parse_args(["serve", *arguments])))


def test_every_setting_is_in_one_group_and_described() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def test_without_flags_the_defaults_hold() -> None:
    assert parse() == Settings()


def test_flag_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WISE_PORT", "9001")
    monkeypatch.setenv("WISE_STRATEGY", "seg-zero")
    assert parse().port == 9001
    settings = parse("--port", "9002")
    assert (settings.port, settings.strategy) == (9002, "seg-zero")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "70000"], "--port"),
        (["--port", "x"], "--port"),
        (["--request-deadline-s", "0"], "--request-deadline-s"),
        (["--gpu-memory-utilization", "nan"], "--gpu-memory-utilization"),
        (["--segmenter-devices", "cuda:0,gpu1"], "'gpu1' is not a device"),
        (["--segmenter-devices", "cuda:0, cuda:0"], "--segmenter-workers"),
        (["--segmenter-workers", "0"], "--segmenter-workers"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--ops-port", "8000"], "--ops-port must differ"),
        (["--max-segmenter-queue", "64"], "--max-segmenter-queue must be above --max-prompts"),
        (["--ops-host", "127.0.0.1"], "--ops-port"),
        (["--cors-origins", "*"], "--cors-origins"),
        (["--cors-origins", "https://a.example/path"], "--cors-origins"),
        (["--cors-origins", "https://a.example, null"], "'null' is not an origin"),
        (["--cors-origins", "https://*.example"], "--cors-origins"),
    ],
)
def test_wrong_values_name_the_flag(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*arguments)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "check"])
def test_an_unknown_strategy_ends_it_with_those_that_are_known(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--strategy", "best"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "--strategy" in told
    assert "'best'" in told
    assert "vision-reasoner" in told


def test_strategy_files_are_given_several_times_or_as_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = parse("--strategy-file", "a.json", "--strategy-file", "b,c.json")
    assert given.strategy_file == ("a.json", "b,c.json")
    monkeypatch.setenv("WISE_STRATEGY_FILE", f"a.json{os.pathsep}b.json")
    assert parse().strategy_file == ("a.json", "b.json")


def test_origins_are_accepted_as_browsers_write_them() -> None:
    text = "https://a.example, http://localhost:3000,http://[::1]:8080"
    assert split_origins(parse("--cors-origins", text).cors_origins) == [
        "https://a.example",
        "http://localhost:3000",
        "http://[::1]:8080",
    ]
    assert split_origins(parse("--cors-origins", "").cors_origins) == []


def test_wrong_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WISE_MAX_QUERIES", "1000")
    with pytest.raises(SystemExit):
        parse()
    assert "WISE_MAX_QUERIES" in capsys.readouterr().err


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["serve", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in Settings.model_fields:
        assert flag_of(name) in text
        assert variable_of(name) in text
    for title in GROUPS:
        assert f"{title}:" in text
    assert "[default: ," not in text


def test_workers_are_placed_on_each_device() -> None:
    assert parse().segmenter_placements == [None]
    assert parse("--segmenter-workers", "2").segmenter_placements == [None, None]
    both = parse("--segmenter-devices", "cuda:0, cuda:1", "--segmenter-workers", "2")
    assert both.segmenter_placements == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
