"""The start of the command: at every moment Ctrl-C ends it in one line, with status 130.

The package itself is imported before this module, so it imports almost nothing.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Run the command ``daskmgrit``."""
    # Shells have what runs in the background ignore Ctrl-C.
    heeds = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if heeds:
        # An exception would come out of the midst of imports, where some make another of it.
        signal.signal(signal.SIGINT, _end)
    from daskmgrit.cli.ends import run
    from daskmgrit.cli.main import main as command

    if heeds:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = _unraisable
    try:
        sys.exit(run(command))
    finally:
        # All is said; what is left are threads and files that end with the process.
        if heeds:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(number: int, frame: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Interrupt again if Ctrl-C came in code that drops exceptions, as calls of weak references and ``__del__`` do."""
    if unraisable.exc_type is KeyboardInterrupt:
        _thread.start_new_thread(_interrupt_soon, (_thread.get_ident(),))
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_soon(thread: int) -> None:
    # At once it would come out of the hook, and be dropped, too.
    time.sleep(0.01)
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, signal.SIGINT)
    else:  # Windows has no signal that ends a wait
        _thread.interrupt_main()
