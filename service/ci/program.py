"""The program `salt-ci`: what it was asked, done, and its exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from service.ci.arguments import parsed
from service.ci.pipeline import PipelineRun
from service.ci.remote import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNREACHABLE, Away, Declined, Ended

EXIT_CANCELLED = 5


def main(arguments: list[str] | None = None) -> None:
    """Run the program. Ends the process with the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_exit_code(arguments))


def _interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _exit_code(arguments: list[str] | None) -> int:
    pipeline: PipelineRun | None = None
    try:
        pipeline = PipelineRun(parsed(arguments), dict(os.environ))
        return pipeline.run()
    except Ended as ended:
        return _said(ended, ended.code)
    except Declined as declined:
        return _said(declined, EXIT_REFUSED)
    except Away as away:
        return _said(away, EXIT_UNREACHABLE)
    except KeyboardInterrupt:
        return _interrupted(pipeline)


def _said(fault: Exception, code: int) -> int:
    sys.stderr.write(f"salt-ci: {fault}\n")
    return code


def _interrupted(pipeline: PipelineRun | None) -> int:
    """End within the seconds that a pipeline leaves to a step that it cancels."""
    if pipeline is None or pipeline.jid is None:
        return _said(Exception("interrupted; the same command with the same key is safe"), EXIT_INTERRUPTED)
    if not pipeline.options.cancel_on_interrupt:
        return _said(Exception(f"interrupted; the job goes on: salt-ci follow {pipeline.jid}"), EXIT_INTERRUPTED)
    try:
        pipeline.cancel()
    except (Away, Declined) as fault:
        return _said(Exception(f"job {pipeline.jid} could not be cancelled: {fault}"), EXIT_INTERRUPTED)
    return _said(Exception(f"job {pipeline.jid} is being cancelled"), EXIT_CANCELLED)
