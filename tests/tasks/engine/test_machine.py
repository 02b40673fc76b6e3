"""Threads are given back, and products are in bfloat16 only where the device computes in it."""

import sys
import time
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from tasks.engine import machine


class TestThreads:
    @pytest.fixture(autouse=True)
    def three(self) -> Any:
        """Three threads before, whatever machine this is."""
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        yield
        torch.set_num_threads(before)

    def test_so_many_inside_and_as_before_after(self) -> None:
        with machine.threads(2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3

    def test_blocks_in_blocks(self) -> None:
        with machine.one_thread():
            assert torch.get_num_threads() == 1
            with machine.threads(2):
                assert torch.get_num_threads() == 2
            assert torch.get_num_threads() == 1

    def test_as_before_after_an_error(self) -> None:
        with pytest.raises(KeyError), machine.threads(1):
            raise KeyError
        assert torch.get_num_threads() == 3

    def test_one_per_core_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "cores", lambda: 5)
        with machine.threads(None):
            assert torch.get_num_threads() == 5


class TestPrecision:
    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    @pytest.mark.parametrize("choice", ["float32", "bfloat16"])
    def test_what_is_asked_for(self, choice: str, device: str) -> None:
        assert machine.precision(choice, device) == choice

    @pytest.mark.parametrize("able", [[], ["avx512_bf16"], ["amx_bf16"]])
    def test_auto_on_a_cpu(self, able: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        names = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: names | dict.fromkeys(able, True)
        )
        assert machine.precision("auto", "cpu") == ("bfloat16" if able else "float32")

    @pytest.mark.parametrize("native", [False, True])
    def test_auto_on_a_gpu(self, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Emulated bfloat16 is slower than float32, so it does not count."""

        def supported(including_emulation: bool = True) -> bool:
            return native or including_emulation

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        for device in ("cuda", "cuda:1"):
            assert machine.precision("auto", device) == ("bfloat16" if native else "float32")

    def test_auto_on_what_is_neither(self) -> None:
        assert machine.precision("auto", "mps") == "float32"


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", 0), ("mps", 0), ("cuda", 4), ("cuda:0", 1), ("cuda:3", 1)]
)
def test_gpus_of_a_device(device: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert machine.gpus(device) == expected
    assert machine.is_cuda(device) == (expected > 0)


def test_a_library_that_a_thread_imports_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faiss.py").write_text(
        "import time\ntime.sleep(0.3)\nlimits = []\n"
        "def omp_get_max_threads(): return 999\n"
        "def omp_set_num_threads(count): limits.append(count)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)  # put back at the end
    del sys.modules["faiss"]
    importing = Thread(target=import_module, args=("faiss",))
    importing.start()
    while "faiss" not in sys.modules:
        time.sleep(0.01)
    machine.limit_threads()
    assert sys.modules["faiss"].limits == [machine.cores()]
    importing.join()
