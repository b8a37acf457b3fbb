"""What holds for all tests."""

import signal

from hypothesis import settings

# No test says how fast the machine is: a deadline would fail where others use it, too.
settings.register_profile("fanfold", deadline=None)
settings.load_profile("fanfold")

# A shell has Ctrl-C ignored for what it starts in the background, and what the tests start would
# inherit that: some send it, and wait for what comes of it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
