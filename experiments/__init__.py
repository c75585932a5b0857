"""Commands and their configs: the only place with flags."""

import signal
import sys

# Of a command that starts (`python -m`): until it listens, Ctrl-C ends it as SIGTERM does, in place of a traceback of
# its imports.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
