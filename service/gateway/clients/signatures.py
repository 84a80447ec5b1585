"""What arguments a runner or wheel function takes, so that stray fields of a low do not reach it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

import salt.utils.args


@dataclasses.dataclass(frozen=True)
class Signature:
    """names: the parameters; any_keyword: the function takes **kwargs."""

    names: frozenset[str]
    any_keyword: bool

    def accepts(self, name: str) -> bool:
        """Say whether a keyword argument may be passed."""
        return self.any_keyword or name in self.names


class Signatures:
    """
    Looks functions up in this process' own Salt, loading one module at a time.

    load: makes Salt's loader when the first function is asked for, such as salt.loader.runner. known: what need not be looked up.
    A function that only the master has (a custom module on its disk) has no signature here; the master decides.
    """

    def __init__(self, load: Callable[[], Any], known: Mapping[str, Signature] | None = None) -> None:
        self._load_all = load
        self._lock = threading.Lock()
        self._functions: Any = None  # guarded by _lock: Salt's loader changes itself on look-up
        self._known: dict[str, Signature] = dict(known or {})

    def of(self, fun: str) -> Signature | None:
        """Return the signature of a function, None if this process has no such function."""
        known = self._known.get(fun)
        if known is None:
            with self._lock:
                known = self._load(fun)
            # Unknown names are looked up again: callers invent them without bound.
            if known is not None:
                self._known[fun] = known
        return known

    def _load(self, fun: str) -> Signature | None:
        if self._functions is None:
            self._functions = self._load_all()
        if fun not in self._functions:
            return None
        spec = salt.utils.args.get_function_argspec(self._functions[fun])
        return Signature(frozenset(spec.args), any_keyword=bool(spec.keywords))


def runner_arguments(fields: Mapping[str, Any], signature: Signature | None) -> tuple[list[Any], dict[str, Any]]:
    """
    Split a low's fields into what a runner function gets: positional and keyword arguments.

    `name=value` strings in `arg` are keywords, `kwarg` is merged, and so is every other field; what the function does
    not take is left out. Source: salt/runner.py RunnerClient._reformat_low, salt/minion.py load_args_and_kwargs.
    """
    positional, keywords = salt.utils.args.parse_input(list(fields.get("arg", [])), condition=False)
    keywords.update(fields.get("kwarg", {}))
    keywords.update({name: value for name, value in fields.items() if name not in {"arg", "kwarg"}})
    return positional, {name: value for name, value in keywords.items() if signature is None or signature.accepts(name)}
