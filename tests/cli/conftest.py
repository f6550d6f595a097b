"""The programs, run in the test process: each in a process of its own would start JAX anew."""

import importlib
from collections.abc import Callable
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    """What a program did."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def call(tmp_path, monkeypatch, capsys) -> Callable[..., Done]:
    """Runs a program with arguments, in `tmp_path`; an exception that it lets through goes on."""
    monkeypatch.chdir(tmp_path)

    def call(verb, *arguments):
        capsys.readouterr()
        status = importlib.import_module(f"deepmds_jax.cli.{verb}").run(arguments)
        done = Done(status, *capsys.readouterr())
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def succeed(call) -> Callable[..., str]:
    """Like `call`, for status 0; returns what the program printed."""

    def succeed(verb, *arguments):
        done = call(verb, *arguments)
        assert done.status == 0, done.stderr
        return done.stdout

    return succeed


@pytest.fixture
def fail(call) -> Callable[..., str]:
    """Like `call`, for status 1; returns what the program said on stderr."""

    def fail(verb, *arguments):
        done = call(verb, *arguments)
        assert done.status == 1
        return done.stderr

    return fail


@pytest.fixture
def refuse(fail, tmp_path) -> Callable[..., str]:
    """Like `fail`, for arguments that are refused in one line before anything is written."""

    def refuse(verb, *arguments):
        before = sorted(tmp_path.rglob("*"))
        errors = fail(verb, *arguments)
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return errors

    return refuse
