"""``python child.py <pid of the launcher> <command …>``: run the command so that it is told when the launcher dies.

The kernel sends SIGTERM to the command when its parent is gone (Linux), so that a launcher killed with -9 leaves
checkpoints behind, not orphans that go on. Run as a file, before anything is imported.
"""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2); it outlives exec


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
