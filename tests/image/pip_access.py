"""What a build in a chroot needs of this machine so that pip finds packages as it does here."""

import re
import subprocess
import sys
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DEEP = 3
"""Parts of a path below which the folder around it is no folder of the system."""
LINE = re.compile(r"^(?:global|:env:|install)\.([\w-]+)='(.*)'$")


def pip_volumes(place: Path) -> list[str]:
    """Volumes, as buildah takes them: pip's settings, the folders that they name, certificates.

    Volumes of a build leave nothing in the image.

    Args:
        place: folder where the settings are written.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = merged(done.stdout)
    written = place / "pip.conf"
    written.write_text("[global]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items()))
    volumes = [f"{written}:/etc/pip.conf:ro"]
    wanted = {*folders(settings), CERTIFICATES} if CERTIFICATES.is_file() else folders(settings)
    return volumes + [f"{path}:{path}:ro" for path in sorted(wanted)]


def merged(listed: str) -> dict[str, str]:
    """Settings of `pip config list`, as one file may hold them; the environment's win."""
    lines = [LINE.match(line) for line in listed.splitlines()]
    found = [match for match in lines if match]
    found.sort(key=lambda match: match.string.startswith(":env:"))
    return {match[1]: match[2].replace("\\n", " ") for match in found}


def folders(settings: dict[str, str]) -> set[Path]:
    """Folders of this machine that hold packages.

    Pages of an index in a folder point to files beside it, so what is around it counts.
    """
    links = {Path(word.removeprefix("file://")) for word in settings.get("find-links", "").split()}
    indexes = " ".join(settings.get(key, "") for key in ("index-url", "extra-index-url")).split()
    pages = {Path(word.removeprefix("file://")) for word in indexes if word.startswith("file://")}
    around = {page.parent if len(page.parts) > DEEP else page for page in pages}
    return {path for path in links | around if path.is_dir()}
