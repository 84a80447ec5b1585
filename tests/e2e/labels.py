"""What our images say of themselves, and what they must not say: the hour they were made."""

from __future__ import annotations

import datetime as dt
import json
import tarfile
from pathlib import Path

from service import __version__
from tests.e2e import images, registry, standins
from tests.e2e.engine import Engine
from tests.e2e.report import Report
from tests.e2e.shell import require, run

PREFIX = "org.opencontainers.image."
# Longer than a build may take.
A_WHILE = dt.timedelta(hours=3)


def labelled(engine: Engine, report: Report) -> None:
    """Prove that the labels are those of this commit, and Salt's release the one that is inside."""
    commit = run("git", "rev-parse", "HEAD", cwd=images.ROOT).strip()
    commit += "-dirty" if run("git", "status", "--porcelain", cwd=images.ROOT) else ""
    made = dt.datetime.fromtimestamp(int(run("git", "log", "-1", "--format=%ct", cwd=images.ROOT)), dt.timezone.utc)
    base = registry.base(engine)
    below = images.inspect(engine, f"{base.name.rpartition(':')[0]}@{base.digest}").facts["RootFS"]["Layers"]
    for tag in (images.SIDECAR, images.SALT):
        require(images.inspect(engine, tag).facts["RootFS"]["Layers"][: len(below)] == below, f"{tag} is not on {base}")
        labels = images.inspect(engine, tag).facts["Config"]["Labels"]
        inside = images.in_image(engine, tag, "python -c 'import importlib.metadata as m; print(m.version(\"salt\"))'").strip()
        wanted = {
            f"{PREFIX}title": tag.partition(":")[0],
            f"{PREFIX}version": __version__,
            f"{PREFIX}revision": commit,
            f"{PREFIX}created": f"{made:%Y-%m-%dT%H:%M:%SZ}",
            f"{PREFIX}source": images.SOURCE_URL,
            f"{PREFIX}url": images.SOURCE_URL,
            f"{PREFIX}base.name": base.name,
            f"{PREFIX}base.digest": base.digest,
            "salt.version": inside,
        }
        require({name: labels.get(name) for name in wanted} == wanted, f"{tag} is labelled {labels}, wanted {wanted}")
        require(all(labels.values()), f"{tag} has an empty label: {labels}")
    report.found(
        "labels",
        f"version {__version__}, Salt {inside}, revision {commit[:12]}, created {made:%Y-%m-%d %H:%M:%S}, source, url, base {base.name} {base.digest[:19]}",
    )
    _on_no_other_base(engine, base, report)


def _on_no_other_base(engine: Engine, base: registry.Base, report: Report) -> None:
    """Name another base image, and not its digest: neither `make image` nor the builder itself takes that, so no label can be untrue."""
    (argument,) = (word for word in base.arguments if word.startswith("PYTHON_IMAGE="))
    asked = run("sh", "-c", f"make image DOCKER={engine.client} BUILD_ARGS='--build-arg {argument}' 2>&1", environ=engine.environ, cwd=images.ROOT, ok=(2,))
    require("another base image has another digest" in asked, f"make image: {asked}")
    built = run("sh", "-c", f"{engine.client} build --target runtime --build-arg {argument} {images.ROOT} 2>&1", environ=engine.environ, ok=(1,))
    require("not found" in built, f"docker build: {built}")
    report.found("another base image without its digest", "refused by make image, and not found by the builder")


def undated(engine: Engine, report: Report) -> None:
    """Prove that no file or folder in our layers is dated with the hour of the build: then the same files make the same layers."""
    shared = len(images.inspect(engine, standins.BASE).facts["RootFS"]["Layers"])
    for tag in (images.SIDECAR, images.SALT):
        made = dt.datetime.fromisoformat(images.inspect(engine, tag).facts["Created"][:19] + "+00:00")
        archive = engine.work / "image.tar"
        engine.docker("save", "--output", archive, tag)
        names = _younger(archive, (made - A_WHILE).timestamp(), shared)
        archive.unlink()
        require(not names, f"dated with the hour of the build, in {tag}: {names}")
    report.found("dates in our layers", "none of the hour of the build")


def built_again(engine: Engine, report: Report) -> None:
    """Build the sidecar once more, from our own source on: the layers are the same."""
    again = "salt-sidecar:again"
    # The same version in other words: the builder has not done that step yet, but for everything before it.
    arguments = f"{' '.join(registry.base(engine).arguments)} --build-arg VERSION={__version__}.0 --target sidecar --tag {again}"
    said = run("sh", "-c", f"{engine.client} build {arguments} {images.ROOT} 2>&1", environ=engine.environ, timeout=1200)
    require("Successfully built /wheels/salt_sidecar" in said, f"the builder did not build us again: {said[-3000:]}")
    before, after = (images.inspect(engine, tag).facts["RootFS"]["Layers"] for tag in (images.SIDECAR, again))
    require(before == after, f"the same source made other layers: {before}, {after}")
    report.found("our own layer, built again", "the same")


def with_git(engine: Engine, report: Report) -> None:
    """Build the master's image once more, with git, as documented."""
    tag = "salt:with-git"
    engine.docker("build", *registry.base(engine).arguments, "--build-arg=MASTER_PACKAGES=git", "--target", "salt", "--tag", tag, images.ROOT, timeout=1200)
    said = images.in_image(engine, tag, "git --version").strip()
    more = images.inspect(engine, tag).facts["Size"] - images.inspect(engine, images.SALT).facts["Size"]
    report.found("MASTER_PACKAGES=git", f"{said}, {more / 1e6:.0f} MB more")


def _younger(archive: Path, than: float, shared: int) -> list[str]:
    """Return what is younger in the layers above the shared ones, and has not got its date from those."""
    with tarfile.open(archive) as image:
        manifest = image.extractfile("manifest.json")
        layers = [_dates(image, name) for name in json.load(manifest)[0]["Layers"]] if manifest else []
    require(len(layers) > shared, "the image has no layer of ours")
    below = {date for layer in layers[:shared] for _, date in layer}
    return [name for layer in layers[shared:] for name, date in layer if date > than and date not in below]


def _dates(image: tarfile.TarFile, name: str) -> list[tuple[str, float]]:
    with tarfile.open(fileobj=image.extractfile(name)) as layer:
        return [(member.name, member.mtime) for member in layer]
