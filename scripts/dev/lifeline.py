"""A worker ends with its parent, even with one that was killed: else it would go on holding the port and the folder."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, see prctl(2)
_LOOK = 0.5  # seconds


def end_with(parent: int) -> None:
    """Kill this process once it is no more a child of `parent`; the data stands a kill.

    Linux does it at once. Elsewhere a thread looks; gunicorn's own look waits for requests that are under way.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without prctl
            ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    threading.Thread(target=_look_after, args=(parent,), daemon=True, name="lifeline").start()


def _look_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(0)
