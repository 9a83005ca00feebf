"""A cohort on a Ray cluster of two nodes, of which a worker and then a node are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cohort.conftest import arguments, check_finished, records
from tests.cohort.test_interruptions import GOOD, events, wait_for

pytest.importorskip("ray", reason="needs the extra 'ray'")
# A killed node is noticed within seconds, for nobody answers there any more; one that is only slow,
# because the machine is busy, is not taken for dead.
SLOW_MACHINE = {
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 120_000,
    "worker_register_timeout_seconds": 600,
    "gcs_rpc_server_reconnect_timeout_s": 600,
    # Ray starts workers with niceness 15: beside anything else that works here they would starve.
    "worker_niceness": 0,
}


def patiently(start):
    """Call it again where Ray gave up: it waits for its own processes for 30 s, no more."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@pytest.fixture
def cluster(monkeypatch, tmp_path_factory):
    """A head that works on nothing, and two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(root), str(root / "kernels"))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    head = {
        "num_cpus": 0,
        "include_dashboard": False,
        "object_store_memory": 80 * 2**20,
        "_system_config": SLOW_MACHINE,
    }
    started = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = [patiently(lambda: started.add_node(**node)) for _ in range(2)]
    yield started, nodes
    started.shutdown()


def actors():
    """Process ids of Ray's workers that hold a model."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Remote"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_worker_and_a_node_die(commands, cohort, model, finished, tmp_path, cluster):
    started, nodes = cluster
    out, log = tmp_path / "out", tmp_path / "log"
    asked = [*arguments(cohort, out, model), "--executor", "ray"]
    driver = commands.start(log, *asked, environment={"RAY_ADDRESS": started.address})
    wait_for(lambda: len(records(out)) >= 4 and actors())
    os.kill(actors()[0], signal.SIGKILL)
    wait_for(lambda: "worker was lost" in log.read_text())
    reached = len(records(out))
    wait_for(lambda: len(records(out)) >= reached + 2)
    before = records(out)
    started.remove_node(nodes[0], allow_graceful=False)
    assert commands.wait(driver) == 5, log.read_text()
    after = records(out)
    assert {name: after[name] for name in before} == before
    done = [event["case"] for event in events(log, "result")]
    assert len(done) == len(set(done))
    assert len(done) >= GOOD - 2  # a case may be committed by the very worker that then dies
    check_finished(out, finished)
