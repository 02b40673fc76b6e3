"""Build the image without Docker or a registry, and run the demo in it as a container would.

The base is a Debian that mmdebstrap makes; buildah builds in a chroot; crun runs the image with a
read-only root, as the image's user, with limits of CPU and memory and no network. Everything is
removed again. Where something is missing, or a limit of time is reached, one line says so, and the
exit code is 0.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import container
from pip_access import pip_volumes

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("buildah", "mmdebstrap", "crun")
FREE_GIB = {"cpu": 10, "gpu": 34}
"""Disk that a build takes for a moment: the environment lies in it four times."""
PACKAGES = "python3,python3-venv,python3-dev,ca-certificates"
BASE, IMAGE = "localhost/stego-base", "localhost/stego-flows:try"
REVISION, VERSION = "tried", "0.0.0"


class Builder:
    """Buildah with a store of its own, which the end removes."""

    def __init__(self, place: Path, seconds: float) -> None:
        """A store in an empty folder; what is built has so many seconds."""
        self.place, self.deadline = place, time.monotonic() + seconds
        store = ["--root", f"{place}/store", "--runroot", f"{place}/run"]
        self.command = ["buildah", *store, "--storage-driver", driver(place)]

    def __call__(self, *arguments: str) -> str:
        """Run a command of buildah; returns what it printed."""
        return self.run([*self.command, *arguments])

    def run(self, command: Sequence[str]) -> str:
        """Run a command while there is time; returns what it printed."""
        return run(command, self.deadline - time.monotonic())

    def base(self) -> None:
        """A Debian with Python, as the image that BASE names."""
        tar = self.place / "base.tar"
        say("making a base image with mmdebstrap")
        self.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", codename(), str(tar)])
        made = self("from", "scratch").strip()
        self("add", made, str(tar), "/")
        self("commit", "--rm", made, BASE)
        tar.unlink()

    def build(self, variant: str, index: str) -> None:
        """The image, as infra/docker/Dockerfile says."""
        given = {"BASE": BASE, "VARIANT": variant, "VERSION": VERSION, "REVISION": REVISION}
        given |= {"TORCH_INDEX": index} if index else {}
        arguments = [f"--build-arg={name}={value}" for name, value in given.items()]
        volumes = [f"--volume={volume}" for volume in pip_volumes(self.place)]
        say(f"building the image, VARIANT={variant}")
        recipe = str(ROOT / "infra/docker/Dockerfile")
        flags = ["--isolation=chroot", "--pull-never", *arguments, *volumes]
        self("build", *flags, "--file", recipe, "--tag", IMAGE, str(ROOT))

    def remove(self) -> None:
        """Unmount and remove everything."""
        self.deadline = float("inf")
        self("unmount", "--all")
        self("rm", "--all")
        self("rmi", "--all", "--force")


def main() -> int:
    """Build, try, remove."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", default=os.environ.get("TORCH_INDEX", ""))
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="given up after these")
    options = parser.parse_args()
    variant = "cpu" if options.index or has_wheels() else "gpu"
    if reason := hindrance(variant):
        say(f"not built: {reason}")
        return 0
    if variant == "gpu":
        say("no CPU wheels (TORCH_INDEX, infra/docker/wheels): VARIANT=gpu, which runs here too")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="stego-image-") as folder:
        builder = Builder(Path(folder), options.seconds)
        try:
            builder.base()
            builder.build(variant, options.index)
            image = json.loads(builder("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
            made = builder("from", "--pull-never", IMAGE).strip()
            root = Path(builder("mount", made).strip())
            container.check(image, root, Path(folder), options.scenes, (VERSION, REVISION))
        except subprocess.CalledProcessError as error:
            say(f"failed: {' '.join(error.cmd[:9])} ...\n{tail(error.stdout)}")
            return 1
        except subprocess.TimeoutExpired:
            say(f"given up: not built within {options.seconds:.0f} s")
            return 0
        finally:
            builder.remove()
    say(f"built, tried and removed in {time.monotonic() - begun:.0f} s")
    return 0


def hindrance(variant: str) -> str | None:
    """Why an image cannot be built here; None if it can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} cannot be found; Debian has packages of these names"
    if os.geteuid() != 0:
        return "only root can build in a chroot"
    free = shutil.disk_usage("/var/tmp").free / 2**30
    if free < FREE_GIB[variant]:
        return f"{free:.0f} GiB are free in /var/tmp, and a build takes {FREE_GIB[variant]}"
    return None


def has_wheels() -> bool:
    """Whether both CPU wheels lie where the Dockerfile looks for them."""
    wheels = ROOT / "infra/docker/wheels"
    return all(list(wheels.glob(f"{name}-*.whl")) for name in ("torch", "torchvision"))


def driver(place: Path) -> str:
    """Overlay, unless the folder is an overlay itself; vfs copies every layer whole."""
    kind = run(["stat", "--file-system", "--format", "%T", str(place)]).strip()
    return "vfs" if kind == "overlayfs" else "overlay"


def codename() -> str:
    """This Debian's name, so that its packages are those that this machine can fetch."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


def run(command: Sequence[str], seconds: float = float("inf")) -> str:
    """Run a command; returns its output, which a failure carries too.

    Raises:
        subprocess.TimeoutExpired: it was not done in time; it and all it started are ended.
    """
    output = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(
        command, stdout=output[0], stderr=output[1], text=True, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(
                timeout=None if seconds == float("inf") else max(seconds, 0)
            )
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    subprocess.CompletedProcess(command, process.returncode, printed).check_returncode()
    return printed


def tail(output: str) -> str:
    """The last lines of an output."""
    return "\n".join((output or "").splitlines()[-40:])


def say(text: str) -> None:
    """One line of this step."""
    print(f"image: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
