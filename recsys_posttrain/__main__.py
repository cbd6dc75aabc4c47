"""The console script. What is imported before `main` is little, as Ctrl-C is a traceback there."""

import sys

from recsys_posttrain.endings import exit_code


def main() -> int:
    """See `exit_code`."""

    def command() -> None:
        from recsys_posttrain.cli import app

        app(prog_name="recsys-posttrain")

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
