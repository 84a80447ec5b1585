"""What every test needs: a Salt that is imported quietly."""

from __future__ import annotations

import sys
import warnings

with warnings.catch_warnings():
    # Salt's imports warn of its own doings; for everything else a warning is an error.
    warnings.simplefilter("ignore")
    from service.gateway.quiet import tame_salt

    tame_salt()
    import service.gateway.dispatch  # noqa: F401

# Salt adds an importer of the old protocol, for PyNaCl's sake; pytest and later imports stumble over it.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
