"""timm without torch's compiler: nothing of it stays behind, and the real one can be had later."""

import subprocess
import sys

AFTERWARDS = """
import sys
from stego_core.backbone import timm_library
assert timm_library.timm().is_model("vit_pico_patch8_conv_64")
with timm_library.without_compiler():
    from torchvision.transforms.v2 import functional
left = [name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))]
assert left == [], left
import torch
import torch._dynamo
assert torch._dynamo.__file__ and torch._dynamo.utils.__file__
doubled = torch.compile(lambda x: 2 * x, backend="eager")
assert doubled(torch.ones(2)).tolist() == [2, 2]
before = sys.modules["torch._dynamo"]
with timm_library.without_compiler():
    assert sys.modules["torch._dynamo"] is before
"""


def test_the_compiler_is_imported_by_whoever_needs_it() -> None:
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
