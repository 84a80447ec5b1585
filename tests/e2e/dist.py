"""`make dist`: the same bytes each time, all that the package needs, and nothing else of the repository."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from tests.e2e import released
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT
from tests.e2e.report import Report
from tests.e2e.shell import require, run

PYTHON = ROOT / ".venv-e2e" / "bin" / "python"
# What the source archive has beside the package.
SOURCE = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "SECURITY.md", "pyproject.toml", "salt_sidecar.egg-info", "service", "setup.cfg"}


def build(folder: Path) -> Path:
    """Build the last commit into a folder."""
    run(ROOT / "requirements" / "dist", folder, timeout=300)
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=folder)
    return folder


def check(engine: Engine, report: Report) -> None:
    """Build it twice, look into the archives, and build a wheel from the source archive."""
    first, second = build(engine.work / "dist-1"), build(engine.work / "dist-2")
    run("diff", "--recursive", first, second)
    report.found("built twice", f"{len(list(first.iterdir()))} files, the same bytes")
    ours = set(run("git", "ls-tree", "-r", "--name-only", "HEAD", "service", cwd=ROOT).split())
    (wheel,), (source,), (chart,) = first.glob("*.whl"), first.glob("*.tar.gz"), first.glob("*.tgz")
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if ".dist-info/" not in name}
    require(held == ours, f"the wheel differs from service/: {held ^ ours}")
    require(any("demo/files" in name for name in held), "the wheel lacks the demo's files")
    packaged = files(source)
    tops = {name.split("/")[0] for name in packaged}
    require(tops == SOURCE and {name for name in packaged if name.startswith("service/")} == ours, f"in the source archive: {tops ^ SOURCE or packaged}")
    charted = {f"helm/salt-sidecar/{name}" for name in files(chart)}
    require(charted <= set(run("git", "ls-files", "helm", cwd=ROOT).split()), f"in the chart's archive: {charted}")
    report.found("in the archives", f"{len(held)} files of the package in wheel and source archive, {len(charted)} of the chart, no test and no tool")
    _rebuild(source, wheel, engine.work / "rebuilt")
    report.found("built from the source archive", "the same wheel")
    released.check(first, report)


def files(archive: Path) -> set[str]:
    """Return the files of an archive, without the folder that holds all of them."""
    with tarfile.open(archive) as packed:
        return {str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) for member in packed if member.isfile()}


def _rebuild(source: Path, wheel: Path, folder: Path) -> None:
    folder.mkdir()
    run("tar", "--extract", "--strip-components=1", "--file", source, "--directory", folder)
    epoch = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    made = run(
        PYTHON, "-c", "import setuptools.build_meta as b; print(b.build_wheel('.'))", cwd=folder, environ={"SOURCE_DATE_EPOCH": epoch}, timeout=120
    ).split()[-1]
    require((folder / made).read_bytes() == wheel.read_bytes(), f"another wheel: {made}")
