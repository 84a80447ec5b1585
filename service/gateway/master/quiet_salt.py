"""Keeps Salt quiet: importing it must not change how this process logs; the only file that touches `salt._logging.impl`."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Loggers made before Salt replaces the logger class stay Python's own. Salt's lose `extra` and fail on `stack_info`
# (SaltLoggingClass.makeRecord passes one in the place of the other), so libraries that are not Salt get theirs now, by name.
_FOREIGN_LOGGERS = ("asyncio", "concurrent.futures", "falcon", "py.warnings", "tornado", "urllib3", "waitress", "waitress.queue")


def tame_salt() -> None:
    """
    Import Salt's logging and undo what that does to this process.

    Call it right after `observe.log.install` and before anything else imports Salt. Salt keeps its logger class, which has the methods its modules
    call (`trace`, `garbage`); it loses its record factory (which formats every record, and raises in the caller if that fails), its excepthook,
    and the power to add handlers or move the root level later. A second call changes nothing.
    Source: salt/_logging/impl.py of 3006.28, 3007.15 and 3008.3.
    """
    for name in _FOREIGN_LOGGERS:
        logging.getLogger(name)
    root = logging.getLogger()
    factory, hook, thread_hook = logging.getLogRecordFactory(), sys.excepthook, threading.excepthook
    handlers, level = list(root.handlers), root.level

    impl = importlib.import_module("salt._logging.impl")

    impl.set_log_record_factory(factory)
    sys.excepthook, threading.excepthook = hook, thread_hook
    impl.shutdown_temp_handler()
    root.handlers[:] = handlers
    root.setLevel(level)
    _disarm(impl)
    for finder in sys.meta_path:
        _modernise(type(finder))


def _disarm(impl: ModuleType) -> None:
    """Make every later attempt of Salt to configure logging a no-op; `salt.client.mixins` and `salt.utils.process` make them."""
    impl.setup_console_handler.__handler__ = logging.NullHandler()
    impl.setup_logfile_handler.__handler__ = logging.NullHandler()
    impl.setup_extended_logging.__handlers__ = [logging.NullHandler()]
    package = importlib.import_module("salt._logging")
    for module in (impl, package):
        vars(module)["setup_logging"] = _keep_handlers
        vars(module)["set_lowest_log_level"] = _keep_level


def _keep_handlers() -> None:
    """Stand in for Salt's setup_logging."""


def _keep_level(log_level: int) -> None:
    """Stand in for Salt's set_lowest_log_level: remember, as get_lowest_log_level wants, and leave the root logger alone."""
    vars(_keep_level)["__log_level__"] = log_level


def _modernise(finder: Any) -> None:
    """
    Give an import hook of Salt the method that replaced `find_module` in Python 3.4.

    Without it each later import is an ImportWarning (to 3.11) or passes the hook by (from 3.12), and pytest stumbles.
    """
    if hasattr(finder, "find_spec") or not hasattr(finder, "find_module"):
        return

    def find_spec(self: Any, name: str, path: object = None, _target: object = None) -> ModuleSpec | None:
        loader = self.find_module(name, path)
        return importlib.util.spec_from_loader(name, loader) if loader else None

    finder.find_spec = find_spec
