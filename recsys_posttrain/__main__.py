"""The console script: runs a command and turns how it ended into an exit code."""

import sys
import traceback

from recsys_posttrain.errors import UserError

_RESUME = "interrupted: run the same command again to resume; finished stages are reused"


def main() -> int:
    """0 done, 2 the user's mistake (one line, no traceback), 130 interrupted, 1 our mistake."""
    try:
        from recsys_posttrain.cli import app

        app(prog_name="recsys-posttrain")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemExit) as end:
        if _was_interrupted(end):
            print(_RESUME, file=sys.stderr)
            return 130
        raise
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _was_interrupted(end: BaseException | None) -> bool:
    """typer and Lightning both answer Ctrl-C by exiting; the interrupt is then the exit's cause."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__cause__ or end.__context__
    return end is not None


if __name__ == "__main__":
    sys.exit(main())
