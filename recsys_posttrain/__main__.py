"""The console script. Until `main` runs nothing is imported that takes time, as Ctrl-C is Python's
own traceback there."""

import os
import signal
import sys


def main() -> int:
    """See `exit_code`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ended by the signal, in silence, while the handler is not there yet.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from recsys_posttrain.endings import exit_code

    def command() -> None:
        from recsys_posttrain.cli import app

        if "TORCHELASTIC_RUN_ID" not in os.environ:
            app(prog_name="recsys-posttrain")
            return
        from recsys_posttrain.training.launched import led  # torch, which most commands never need

        led(lambda: app(prog_name="recsys-posttrain"))

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
