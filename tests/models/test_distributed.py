"""Two devices with half the batch each train as one device with all of it, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UsageError

CASES = Path(__file__).with_name("distributed_cases.py")
KINDS = (
    "plain", "adabelief", "adam corrected", "clipped", "clipped sum", "dropout", "apart", "no xla",
    "step by xla",
)  # fmt: skip


def run(*names: str, seconds: float = 300, folder: Path | None = None) -> dict[str, dict]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(CASES.parents[2])}
    done = subprocess.run(
        [sys.executable, str(CASES), *names], capture_output=True, text=True, timeout=seconds,
        env=environment, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [case["case"] for case in found] == list(names)
    return {case["case"]: case for case in found}


def assert_equal(case: dict, losses: float = 1e-6, weights: float = 1e-5) -> None:
    assert case["finite"] and case["copies"] == 0.0
    assert case["losses"] <= losses and case["weights"] <= weights and case["slots"] <= 1e-3


def test_two_devices_train_as_one():
    """A case with the most parts at once, and the order of what is told for each sample."""
    found = run("per sample", "everything")
    assert found["per sample"]["same"] == [True, True]
    assert found["per sample"]["sum"] == ["2.0", "nan", "18.0", "26.0", "34.0", "42.0"]
    assert_equal(found["everything"])
    assert_equal(found["everything"]["resumed"])  # what two devices saved goes on alike on one
    assert max(found["everything"]["straight"][name] for name in ("losses", "weights", "slots")) == 0.0


@pytest.mark.slow
def test_every_optimizer_and_way_of_stepping():
    for case in run(*KINDS).values():
        assert_equal(case)
        assert_equal(case["resumed"])
        assert max(case["straight"][name] for name in ("losses", "weights", "slots")) == 0.0, case


@pytest.mark.slow
def test_float16_keeps_one_scale_and_skips_a_step_everywhere():
    found = run("half", "overflow")
    assert found["half"]["losses"] < 1e-3 and found["half"]["weights"] < 1e-4
    assert found["half"]["copies"] == 0.0 and len(set(found["half"]["scales"])) == 1
    assert found["overflow"] == {"case": "overflow", "kept": True, "scales": [0.5, 0.5]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Quick96", "SAEHD", "growing", "several", "AMP", "Original"])
def test_the_kinds_of_model(kind, tmp_path):
    """SAEHD and AMP with their discriminators, clipping and dropout; the preview and the predictor, too."""
    case = run(kind, seconds=900, folder=tmp_path)[kind]
    assert case["copies"] == 0.0 and case["losses"] < 2e-5 and case["share"] < 1e-3
    assert case["preview"] and len(case["predicted"]) == 3


def test_a_batch_that_cannot_be_shared_is_told():
    from core.nn.distribution import SINGLE, Distribution

    three = Distribution()
    three.replicas = 3
    for size in (3, 6, 9):
        three.check_batch(size)
    for size, text in ((4, "give 3 or 6"), (8, "give 6 or 9"), (2, "give 3$")):
        with pytest.raises(UsageError, match=f"batch_size {size} .* by 3 devices; {text}"):
            three.check_batch(size)
    assert [three.halved(size) for size in (12, 9, 6, 3)] == [6, 3, 3, 0]
    SINGLE.check_batch(7)
    assert [SINGLE.halved(size) for size in (7, 2, 1)] == [3, 1, 0]


def test_it_is_told_before_a_model_is_built():
    """The CPU appears as three devices."""
    from core.nn.devices import VIRTUAL_CPUS

    code = (
        "from core.nn import devices; import models; d = devices.prepare(cpu_only=True);"
        "assert len(d.logical) == 3 and '3 shares' in d.describe();"
        "models.create_model('Quick96', models.options_class('Quick96')(batch_size=4))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CASES.parents[2], capture_output=True, text=True, timeout=120,
        env={**os.environ, VIRTUAL_CPUS: "3", "TF_CPP_MIN_LOG_LEVEL": "3"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "UsageError: batch_size 4 cannot be shared equally by 3 devices; give 3 or 6" in done.stderr
