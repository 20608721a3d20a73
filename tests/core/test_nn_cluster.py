"""Which machines train together, by flags and by TF_CONFIG; no TensorFlow is needed for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from core.errors import UsageError
from core.nn.cluster import Cluster, find_cluster

TWO = ("10.0.0.5:4000", "10.0.0.6:4000")


def config(kind: str, index: int, **jobs: list[str]) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def test_flags_and_tf_config_name_the_same_cluster():
    cluster = find_cluster(" 10.0.0.5:4000, 10.0.0.6:4000", 1, {})
    assert cluster == Cluster(TWO, 1) and not cluster.is_chief
    assert find_cluster(None, None, config("worker", 1, worker=list(TWO))) == cluster
    with_chief = {"chief": [TWO[0]], "worker": [TWO[1]]}
    assert find_cluster(None, None, config("worker", 0, **with_chief)) == cluster
    assert find_cluster(None, None, config("chief", 0, **with_chief)).is_chief
    # flags go before the variable
    assert find_cluster(",".join(TWO), 0, config("worker", 7, worker=["a:1"])).index == 0


def test_one_machine_is_no_cluster():
    assert find_cluster(None, None, {}) is None
    assert find_cluster("10.0.0.5:4000", 0, {}) is None
    assert find_cluster(None, None, {"TF_CONFIG": "{}"}) is None
    assert find_cluster(None, None, config("worker", 0, worker=["10.0.0.5:4000"])) is None
    assert find_cluster("[::1]:4000,[::1]:4001", 1, {}).workers == ("[::1]:4000", "[::1]:4001")


@pytest.mark.parametrize(
    ("workers", "index", "environ", "text"),
    [
        (",".join(TWO), None, {}, "belong together"),
        (None, 1, {}, "belong together"),
        (",".join(TWO), 2, {}, "0 to 1, but not 2"),
        (",".join(TWO), -1, {}, "not -1"),
        ("10.0.0.5,10.0.0.6", 0, {}, "no address"),
        ("10.0.0.5:0,10.0.0.6:1", 0, {}, "no address"),
        ("10.0.0.5:70000,10.0.0.6:1", 0, {}, "no address"),
        (",", 0, {}, "no address"),
        ("a:1,a:1", 0, {}, "given twice"),
        (None, None, {"TF_CONFIG": "{nonsense"}, "not understood"),
        (None, None, {"TF_CONFIG": "[]"}, "not understood"),
        (None, None, {"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {}}'}, "not understood"),
        (None, None, config("worker", 2, worker=["a:1", "b:1"]), "no worker 2"),
        (None, None, config("worker", 0, worker=["a:1", "b:1"], ps=["c:1"]), "'ps'"),
        (None, None, config("evaluator", 0, worker=["a:1", "b:1"]), "'evaluator'"),
    ],
)
def test_what_is_no_cluster_is_told(workers, index, environ, text):
    with pytest.raises(UsageError, match=text) as told:
        find_cluster(workers, index, environ)
    assert "\n" not in str(told.value)


def test_it_is_checked_before_tensorflow_is_loaded():
    code = "import sys, core.nn.cluster; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
