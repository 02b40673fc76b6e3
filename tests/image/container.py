"""A container of an image's files: read-only, with limits, without a network, as its user."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

MEMORY = 3 * 2**30
WRITABLE = ("/tmp", "/home/stego")
USER = 10001
PLAIN_CGROUPS = (
    *("unshare", "--mount", "sh", "-c"),
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"',
    "crun",
)
"""Crun takes version 1 or 2 of cgroups, not both; a mount namespace of its own hides the second."""
LOOK = (
    "import os, psutil; from pathlib import Path; from tasks.engine import machine; import torch; "
    "print(os.getuid(), machine.cores(), machine.free_memory(), torch.version.cuda, "
    "Path('/proc/1/comm').read_text().strip())"
)


def check(
    image: dict[str, Any], root: Path, place: Path, scenes: int, stamp: tuple[str, str]
) -> None:
    """Run the image and look at what its promises are worth.

    Raises:
        subprocess.CalledProcessError: it breaks one; carries what it printed.
    """
    labels = {name.rpartition(".")[2]: value for name, value in image["Labels"].items()}
    require((labels["version"], labels["revision"]) == stamp, f"labels {labels}")
    workspaces = place / "workspaces"
    workspaces.mkdir()
    os.chown(workspaces, USER, USER)
    cores = 2 if (os.cpu_count() or 1) > 2 else 1

    def inside(*command: str) -> str:
        return contained(image, root, place, command, cores)

    user, seen, free, cuda, first = inside("python", "-c", LOOK).split()[-5:]
    print(
        f"image: user {user}, {seen} cores, {int(free) / 2**30:.2f} GiB free, CUDA {cuda}, "
        f"process 1 {first}",
        flush=True,
    )
    require(int(user) == USER, f"runs as user {user}")
    require(int(seen) == cores, f"{seen} cores are seen, the limit is {cores}")
    require(0 < int(free) <= MEMORY, f"{free} bytes seem to be free, the limit is {MEMORY}")
    require(first == "tini", f"process 1 is {first}")
    refused = inside("sh", "-c", "touch /opt/x 2>&1 || touch /home/stego/x /tmp/x && echo kept")
    require("Read-only" in refused and "kept" in refused, f"its root can be written: {refused}")
    shown = inside(
        "stego", "demo", "--offline", "--scenes", str(scenes), "--workspace", "/workspaces/demo"
    )
    require((workspaces / "demo" / "reports").is_dir(), f"the demo made no report: {shown}")
    print("\n".join(f"image: {line}" for line in shown.splitlines()[-12:]), flush=True)


def require(kept: bool, found: str) -> None:
    """End with what was found unless a promise is kept."""
    if not kept:
        raise subprocess.CalledProcessError(1, ["the", "image:"], found)


def contained(
    image: dict[str, Any], root: Path, place: Path, command: tuple[str, ...], cores: int
) -> str:
    """Run a command in a container; returns what it printed."""
    bundle = place / f"bundle-{uuid4().hex[:8]}"
    bundle.mkdir()
    document = bundle_document(image, root, place / "workspaces", command, cores)
    (bundle / "config.json").write_text(json.dumps(document))
    manager = ["crun", f"--root={place}/crun", "--cgroup-manager=cgroupfs"]
    done = subprocess.run(
        [*PLAIN_CGROUPS, *manager, "run", f"--bundle={bundle}", bundle.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    done.check_returncode()
    return done.stdout


def bundle_document(
    image: dict[str, Any], root: Path, workspaces: Path, command: tuple[str, ...], cores: int
) -> dict[str, Any]:
    """The container as the OCI runtime specification writes it down.

    Entry point, environment, user and folder are the image's own; the rest is what
    infra/kubernetes asks for: no capability, no new privilege, a read-only root.
    """
    user, _, group = image["User"].partition(":")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "hostname": "stego",
        "process": {
            "user": {"uid": int(user), "gid": int(group or user)},
            "args": [*image["Entrypoint"], *command],
            "env": [*image["Env"], "DO_NOT_TRACK=1", "HF_HUB_OFFLINE=1"],
            "cwd": image["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "mounts": mounts(workspaces),
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            "resources": {
                "memory": {"limit": MEMORY},
                "cpu": {"quota": 100_000 * cores, "period": 100_000},
            },
        },
    }


def mounts(workspaces: Path) -> list[dict[str, Any]]:
    """What is mounted over the read-only root."""
    own = ["nosuid", "nodev", "mode=0700", f"uid={USER}", f"gid={USER}"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        *(
            {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": own}
            for path in WRITABLE
        ),
        {
            "destination": "/workspaces",
            "type": "bind",
            "source": str(workspaces),
            "options": ["rbind", "rw"],
        },
    ]
