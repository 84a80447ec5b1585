"""Runs a command and takes in what detaches itself from it: the master does so with a process for each runner, whose CPU time is the master's."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Source: linux/prctl.h. An orphan of ours becomes our child instead of init's; we wait for it, and the kernel adds its CPU time to ours.
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run the command of the arguments, pass on SIGTERM and SIGINT, end as it does."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    command = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: os.kill(command, got))
    while True:
        ended, status = os.wait()
        if ended == command:
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
