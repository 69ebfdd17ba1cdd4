"""The command line: one thin function a command."""

from sfumato.cli.program import app, main

__all__ = ["app", "main"]
