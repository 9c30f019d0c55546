"""The console script ``daskmgrit``: Ctrl-C ends it in one line, with status 130, before the package is imported.

Any module of a package comes after the package itself, whose import takes 0.15 s. This one stands outside for that.
"""

import os
import signal

__all__ = ["main"]


def main():
    """Run the command ``daskmgrit``."""
    # Shells have what runs in the background ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # An exception would come out of the midst of imports, where some make another of it.
        signal.signal(signal.SIGINT, _end)
    from daskmgrit.cli.entry import main as command

    command()


def _end(number, frame):
    os.write(2, b"interrupted\n")
    os._exit(130)
