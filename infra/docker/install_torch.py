"""Install PyTorch for an image: for CPUs from an index or wheels that were given, or with CUDA.

The default index has PyTorch with CUDA only, some 4 GB that a CPU never uses. So a CPU image says
where its wheels come from, and a build that got others ends here.
"""

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGES = ("torch", "torchvision")
CONSTRAINED = ("--constraint", "constraints.txt")
PROBE = "import torch, torchvision; print(torch.__version__, torch.version.cuda)"


def main() -> str | None:
    """Install, then look at what came; returns the sentence to end with, None if all is well."""
    options = parsed()
    problem = refusal(options.variant, options.index, options.wheels)
    if problem or options.dry_run:
        return problem
    if subprocess.run(command(options.variant, options.index, options.wheels)).returncode:
        return "pip could not install torch and torchvision; its message stands above"
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if probe.returncode:
        cause = probe.stderr.strip().splitlines()[-1]
        return f"torch and torchvision that were installed do not work together: {cause}"
    return mismatch(options.variant, *probe.stdout.split())


def parsed() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--index", default="", help="address of an index of CPU wheels")
    parser.add_argument("--wheels", type=Path, required=True, help="folder that may hold wheels")
    parser.add_argument("--dry-run", action="store_true", help="refuse what cannot be built")
    return parser.parse_args()


def refusal(variant: str, index: str, wheels: Path) -> str | None:
    """Why this image cannot be built, in a sentence; None if it can."""
    if variant not in {"cpu", "gpu"}:
        return f"VARIANT is {variant!r}; expected cpu or gpu"
    if variant == "gpu" and index:
        return "TORCH_INDEX is an index of CPU wheels, and VARIANT is gpu; leave one of them out"
    absent = [name for name in PACKAGES if not list(wheels.glob(f"{name}-*.whl"))]
    if variant == "cpu" and not index and absent:
        return (
            "a CPU image needs PyTorch's CPU wheels: give the address of their index as "
            "--build-arg TORCH_INDEX=..., or put wheels of torch and torchvision into "
            f"infra/docker/wheels (no {' and no '.join(absent)} is there); "
            "--build-arg VARIANT=gpu builds the larger image with CUDA, which runs on CPUs too"
        )
    return None


def command(variant: str, index: str, wheels: Path) -> list[str]:
    """What installs both packages; a local build such as 2.15.0+cpu counts as newer than 2.15.0."""
    where = ["--index-url", index] if index else []
    if variant == "cpu" and not index:
        where = ["--find-links", str(wheels)]
    return [sys.executable, "-m", "pip", "install", *CONSTRAINED, *where, *PACKAGES]


def mismatch(variant: str, version: str, cuda: str) -> str | None:
    """Why what was installed is not what the variant promises; None if it is."""
    if (variant == "cpu") == (cuda == "None"):
        return None
    target = "for CPUs only" if cuda == "None" else f"for CUDA {cuda}"
    return (
        f"torch {version} was built {target}, and VARIANT={variant} promises another; "
        "see TORCH_INDEX and infra/docker/wheels"
    )


if __name__ == "__main__":
    sys.exit(main())
