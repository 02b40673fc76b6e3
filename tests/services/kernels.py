"""The tests under the arithmetic of other processors: `python tests/services/kernels.py PATHS`.

Libraries choose their kernels by the processor that they find; each lets itself be held to an
older one. Sums then round otherwise, and a test that asks for one machine's last bit fails.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "FAISS_OPT_LEVEL": "generic",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "FAISS_OPT_LEVEL": "avx2",
    "OMP_NUM_THREADS": "2",
}
AVX512 = {
    "ATEN_CPU_CAPABILITY": "avx512",
    "DNNL_MAX_CPU_ISA": "AVX512_CORE",
    "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    "OPENBLAS_CORETYPE": "SkylakeX",
    "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL AVX512_SPR",
    "OMP_NUM_THREADS": "1",
}
KERNELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "oldest": ("sse4_1", OLDEST),
    "avx2": ("avx2", AVX2),
    "avx512": ("avx512bw", AVX512),
}
"""What the processor must have, as Linux names it, and how the libraries are told."""
SENSITIVE = tuple(
    f"tests/stego_core/{name}"
    for name in (
        "backbone/test_vit.py", "clustering", "head", "masks", "scores",
        "search/test_inverted_lists.py", "search/test_neighbor_table.py",
        "search/test_patch_index.py",
    )
)  # fmt: skip
"""Tests of much arithmetic."""


def usable() -> Iterator[str]:
    """Kernels that this processor can run."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    yield from (name for name, (flag, _) in KERNELS.items() if flag in flags)


def tested(name: str, paths: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests under some kernels."""
    options = ("-q", "-p", "no:cacheprovider", "-m", "not long")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *paths],
        env={**os.environ, **KERNELS[name][1]},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def main(paths: Sequence[str]) -> int:
    """Run tests under every kernel; 1 if some fail."""
    worst = 0
    for name in usable():
        done = tested(name, paths)
        said = "passed" if done.returncode == 0 else done.stdout[-8000:]
        sys.stdout.write(f"== {name}: {said}\n")
        sys.stdout.flush()
        worst = max(worst, int(done.returncode != 0))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SENSITIVE))
