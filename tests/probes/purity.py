"""Probe: do everything that is known to write something else than JSON, with the Salt of this interpreter. `purity.py CONFIG_DIR SHAPE`."""

from __future__ import annotations

import sys

from service.observe.log import log

log.install("info", shape=sys.argv[2])  # type: ignore[arg-type]

from service.gateway.master.quiet_salt import tame_salt  # noqa: E402

tame_salt()

import logging  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import threading  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

import salt._logging as salt_logging  # noqa: E402
import salt.client  # noqa: E402
import salt.config  # noqa: E402
import salt.utils.stringutils  # noqa: E402
import salt.version  # noqa: E402


def fail() -> None:
    local_variable = "CANARY-LOCAL"
    raise RuntimeError(f"in {threading.current_thread().name}, {len(local_variable)} characters")


def main(folder: Path) -> None:
    config = folder / "master"
    config.write_text(f"root_dir: {folder}\nlog_level: warning\nlog_file: {folder}/log\nuser: root\n", encoding="utf-8")
    opts = salt.config.client_config(str(config))
    log.get().info("app.start", version=salt.version.__version__, password="CANARY-KEY")
    log.bind(request_id="req-1")
    foreign(opts)
    streams()
    thread = threading.Thread(target=fail, name="doomed")
    thread.start()
    thread.join()
    log.clear()
    log.get().info(
        "app.state",
        handlers=[type(h).__name__ for h in logging.getLogger().handlers],
        root_level=logging.getLogger().level,
        old_hooks=[repr(finder) for finder in sys.meta_path if not hasattr(finder, "find_spec")],
    )
    fail()


def foreign(opts: dict[str, object]) -> None:
    salt_logging.impl.set_logging_options_dict(opts)
    salt_logging.setup_logging()
    salt_logging.shutdown_logging()
    salt_logging.setup_logging()
    logging.getLogger("salt.probe").error("%d broken", "x")
    logging.getLogger("salt.probe").info("still info")
    logging.getLogger("salt.probe").trace("trace exists")  # type: ignore[attr-defined]
    logging.getLogger("salt.probe").warning("load %s", {"fun": "test.ping", "password": "CANARY-TEXT"})
    logging.getLogger("waitress").warning("with extra", extra={"thing": 1}, stack_info=True)
    try:
        fail()
    except RuntimeError:
        logging.getLogger("salt.probe").error("caught", exc_info_on_loglevel=logging.DEBUG)  # type: ignore[call-arg]  # noqa: TRY400
        log.get().exception("probe.failed")


def streams() -> None:
    print("a print", "with two words")
    print("no line feed", end="", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.buffer.write(b"bytes \xff\n")
    warnings.warn("a warning", UserWarning, stacklevel=1)
    os.write(1, b"straight to 1\n")
    os.write(2, b"straight to 2\n")
    subprocess.run([sys.executable, "-c", "import sys; print('child out'); print('child err', file=sys.stderr)"], check=True)
    os.system("echo from a shell; echo to its errors >&2")
    salt.utils.stringutils.print_cli("salt prints")
    forked()
    print("left in the original stream", file=sys.__stdout__)


def forked() -> None:
    """A child that was not started anew has our pipeline, without its threads."""
    child = os.fork()
    if child == 0:
        log.get().info("app.child", password="CANARY-CHILD")
        print("printed by a fork")
        log.close()
        os._exit(0)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
