"""benchmarks/gpu.py where there is no GPU: its parts run, and what they compare is equal."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("gpu", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_maps_and_fit_of_one_device_are_its_own(gpu):
    found = gpu.maps("cpu", {"m": 60, "n": 50, "d": 20, "h_t": 24, "h_s": 16})
    assert found["rows with another k than on the CPU"] == 0
    assert found["largest relative difference of a row from the CPU's"] < 1e-5
    found = gpu.head_fit("cpu", {"positions": 60, "new": 20, "h_s": 8})
    objectives = found["objective, of 500 positions"]
    assert len({*objectives.values()}) == 1


def test_each_part_runs_alone_and_says_why_it_failed(gpu, tmp_path):
    named = {part[0] for part in gpu.parts("cpu")}
    assert named == {"trained", "killed", "head_fit", "maps"}
    assert gpu.measure(("maps", "cpu"), tmp_path, True, 0.5) == {"failed": "no time was left"}
