"""For all tests: how hypothesis looks for counterexamples, and that Ctrl-C can be tried."""

import signal

from hypothesis import settings

# A deadline for one example says how busy the machine is, not whether the code is right.
settings.register_profile("seakeep", deadline=None, print_blob=True)
settings.load_profile("seakeep")

# A job in the background of a script is started deaf to Ctrl-C, and would start every command of
# the tests so (POSIX 2.11); a handler of our own is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
