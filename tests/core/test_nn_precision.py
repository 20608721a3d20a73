"""Devices and precision."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.errors import UsageError
from core.nn import devices


def test_precision_as_asked_and_by_generation():
    devices.prepare(cpu_only=True)
    from core.nn.precision import choose

    cpu = devices.prepare(cpu_only=True)
    assert choose("bfloat16", cpu).policy == "mixed_bfloat16"
    assert choose("float16", cpu).scales_loss
    for capability, policy in {(8, 6): "mixed_bfloat16", (7, 5): "mixed_float16", (6, 1): "float32"}.items():
        assert choose("auto", devices.Devices(("GPU",), capability, 2)).policy == policy
    assert choose("auto", devices.Devices(("GPU",), None, 2)).policy == "float32"


def test_an_unknown_precision_is_refused():
    cpu = devices.prepare(cpu_only=True)
    from core.nn.precision import choose

    with pytest.raises(UsageError, match="int8"):
        choose("int8", cpu)


def test_probe_takes_the_faster_type(monkeypatch):
    cpu = devices.prepare(cpu_only=True)
    from core.nn import precision

    times = {"bfloat16": 0.010, "float32": 0.017}
    monkeypatch.setattr(precision, "conv_gradient_time", lambda dtype: times[dtype.name])
    chosen = precision.choose("auto", cpu)
    assert chosen.policy == "mixed_bfloat16"
    assert "10.0 ms" in chosen.describe() and "17.0 ms" in chosen.describe()
    times["bfloat16"] = 0.9
    assert precision.choose("auto", cpu).policy == "float32"


def test_probe_is_short():
    import time

    devices.prepare(cpu_only=True)
    import tensorflow as tf

    from core.nn.precision import conv_gradient_time

    start = time.perf_counter()
    assert 0 < conv_gradient_time(tf.float32, 0.05) < 5
    assert time.perf_counter() - start < 10


def test_missing_gpu_is_named():
    devices.prepare(cpu_only=True)
    with pytest.raises(UsageError, match="GPU 63"):
        devices.prepare(gpu_indices=[63])


def test_first_import_is_quiet_and_uses_onednn(root):
    code = (
        "from core.nn import devices; d = devices.prepare(cpu_only=True); import os, tensorflow as tf;"
        "tf.ones(3) + 1; assert os.environ['TF_ENABLE_ONEDNN_OPTS'] == '1'; print(d.describe())"
    )
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CPU")
    assert done.stderr == ""
