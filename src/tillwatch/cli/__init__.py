"""The command line: one file a command, put together in `app`. Only commands that need them import heavy packages."""

from tillwatch.cli.app import app


def main() -> None:
    """The program `tillwatch`; exits with 0 done, 1 the run failed, 2 the call or configuration is wrong."""
    app()
