"""The command line as a whole: help, version, exit codes, and what it must not import."""

import subprocess
import sys

import pytest

import delineate
from delineate.cli import app, main

COMMANDS = ("predict", "eval", "train", "export", "models")


def test_version(run):
    assert run("--version").out.strip() == delineate.__version__


def test_help_names_every_command(run):
    ended = run("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(run, name):
    ended = run(name, "--help")
    assert ended.code == 0
    assert f"delineate {name}" in ended.out


def test_help_is_light():
    script = (
        "import sys; from delineate.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'PIL'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    # Importing `delineate` brings Pillow along (reading pictures is a public name); nothing heavier may come.
    assert ended.returncode == 0 or ended.stderr.strip() == "PIL"


def test_unknown_commands_and_options_end_with_an_error(run):
    for words in (["segment"], ["predict", "a.png", "--outt", "b"], ["predict", "a.png"]):
        ended = run(*words)
        assert ended.code != 0
        assert ended.out + ended.err


def test_an_interruption_is_no_traceback(run, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("delineate.cli.app", interrupted)
    ended = run("models")
    assert (ended.code, ended.err) == (130, "delineate: interrupted\n")


def test_main_takes_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["delineate", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == delineate.__version__
    assert app.name == ("delineate",)
