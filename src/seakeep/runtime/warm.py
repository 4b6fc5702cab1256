"""Imported once by the server that workers are forked from, so that none of them has to import and
load the twin by itself, nor compile it: that takes seconds when Numba's cache is empty."""

import ctypes
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1

if sys.platform == "linux":
    # The server does not notice that the command has ended while it compiles.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

with suppress(Exception):  # whoever runs it next fails alike, and can be told of
    from seakeep.engines.twin import world

    world.warm()
