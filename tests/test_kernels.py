"""The tests hold on processors other than this one."""

import kernels
import pytest


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_arithmetic_of_another_processor(name: str) -> None:
    if name not in set(kernels.usable()):
        pytest.skip(f"this processor has no {kernels.KERNELS[name][0]}")
    done = kernels.tested(name, kernels.SENSITIVE)
    assert done.returncode == 0, done.stdout[-8000:]
