"""Batches on a Ray cluster: a lost node or driver loses no cell, and where a cell is computed changes nothing in it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import ray
import tiny
from ray.cluster_utils import Cluster
from running import ROOT
from staff_stand_in import Drawer, people

from magicapture.__main__ import main
from magicapture.server.cluster import ClusterError, connect
from magicapture.staff.batch import Meter, compute_cells
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.engines.on_ray import RayEngine
from magicapture.staff.run_folder import RunFolder
from magicapture.staff.work import Outcome, Pictures, Setup

STORE_BYTES = 100 * 2**20
SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
"""So that a lost node is missed after two seconds, not half a minute."""


@pytest.fixture(autouse=True)
def where_workers_find_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "tests"))))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's 15 starves them where other tests run


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Give a cluster of a head without a GPU and two nodes with one each, as far as Ray knows."""
    sizes = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    head = {**sizes, "num_gpus": 0, "include_dashboard": False, "_system_config": SOON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_gpus=1, **sizes)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_with_children(pid: int) -> None:
    raylet = psutil.Process(pid)
    for process in (raylet, *raylet.children(recursive=True)):
        process.kill()


def test_a_lost_node_loses_no_cell_and_repeats_one_at_most(cluster: Cluster, tmp_path: Path) -> None:
    run, cells, drawer = RunFolder(tmp_path / "run"), people(tmp_path, 12), Drawer(tmp_path / "diary", 0.7)
    victim = cluster.list_all_nodes()[-1]
    with closing(RayEngine(drawer, Setup(), cluster.address)) as engine:
        assert engine.places == 2
        states = []
        for result in compute_cells(cells, engine, run, Meter()):
            states.append(result.state)
            if len(states) == 3:
                kill_with_children(victim.all_processes["raylet"][0].process.pid)
    assert states == ["done"] * 12
    assert all(run.result(cell.key).state == "done" for cell in cells)
    assert set(drawer.times()) == set(range(1, 13))
    assert sum(drawer.times().values()) <= 13
    assert drawer.processes() <= 4, "a process takes the next cell, too: its base is loaded already"


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_after_the_driver_was_killed_the_second_run_does_the_rest_alone(tmp_path: Path, engine: str) -> None:
    mine, whole = tmp_path / "mine", tmp_path / "whole"
    command = [sys.executable, str(ROOT / "tests/staff_driver.py")]
    driver = subprocess.Popen([*command, mine, "8", "0.3", engine], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        assert driver.stdout.readline()
    workers = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    # The next run needs what they hold; agents of Ray call the head that died with the driver for a minute.
    assert psutil.wait_procs(workers, timeout=120)[1] == []
    before = {path: path.read_bytes() for path in (mine / "run/cells").glob("[!.]*/*") if path.is_file()}
    rest = subprocess.run([*command, mine, "8", "0", engine], stdout=subprocess.PIPE, text=True, check=True)
    assert len(rest.stdout.split()) == 8 - len({path.parent for path in before})
    assert {path: path.read_bytes() for path in before} == before
    assert max(Drawer(mine / "diary").times().values()) <= 2
    subprocess.run([*command, whole, "8", "0", "local"], stdout=subprocess.PIPE, check=True)
    assert drawn(mine) == drawn(whole)
    assert [path for path in (mine / "run/cells").iterdir() if path.name.startswith(".")] == []


def drawn(folder: Path) -> dict[Path, bytes]:
    """Give all files of all cells but the results, which tell seconds and attempts."""
    cells = folder / "run/cells"
    files = [path for path in cells.glob("[!.]*/**/*") if path.is_file() and path.name != "result.json"]
    return {path.relative_to(cells): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("base", ["tiny", "mini"])
def test_local_and_ray_draw_the_same_portraits(
    tmp_path: Path, examples: Path, base: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGICAPTURE_FACE_ENGINE", "builtin")
    if base == "tiny":
        base = tiny.saved(tmp_path / "base")
    head = "person_id,photos,style,count,consent_at,consent_version,consent_scope"
    rows = [
        "E1,person-someone,style-grey,2,2026-11-03,v1,intranet",
        "E2,,,,declined,,",
        "E3,none,style-grey,1,2026-11-03,v1,x",
    ]
    (tmp_path / "people.csv").write_text("\n".join([head, *rows]))
    for engine in ("local", "ray"):
        command = ["staff", "run", str(tmp_path / "people.csv"), "--photos", str(examples), "--engine", engine]
        assert (
            main([*command, "--base", base, "--steps", "4", "--best-of", "1", "--out", str(tmp_path / engine / "run")])
            == 0
        )
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (told["people"], told["skipped"], told["done"], told["unusable"]) == (3, 1, 1, 1)
    assert any(path.suffix == ".png" for path in drawn(tmp_path / "local"))
    assert drawn(tmp_path / "local") == drawn(tmp_path / "ray")


def reach_out(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
    try:
        psutil.socket.create_connection(("192.0.2.1", 9), timeout=1)
    except OSError as error:
        return Outcome(CellResult(cell.key, cell.person, cell.style, "done", error=type(error).__name__))
    raise AssertionError("connected")


def test_private_mode_lets_no_photo_leave_through_ray(tmp_path: Path) -> None:
    for address in ("10.1.2.3:6379", "cluster.example.com:6379", "auto"):
        with pytest.raises(ClusterError, match=r"photos would leave this machine .* Use the engine local"):
            RayEngine(reach_out, Setup(private=True), address)


def test_a_cluster_of_ones_own_is_started_even_where_somebody_elses_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ray, "init", lambda *address, **_: asked.append(address))
    connect("", private=False)
    assert asked == [("local",)]  # without it Ray joins whichever cluster it finds on this machine


def test_a_cluster_that_is_not_there_is_told_in_a_sentence() -> None:
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"The Ray cluster 127\.0\.0\.1:9 cannot be had"):
        RayEngine(reach_out, Setup(), "127.0.0.1:9")
    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_a_thousand_people_come_through_with_bad_luck_and_a_killed_worker(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "magicapture.staff.rehearsal", "--engine", "local", "ray"]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for result in json.loads(told.stdout.splitlines()[-1]):
        assert (result["done"], result["failed"], result["missing"]) == (980, 20, 0)
        assert result["workers killed"] == 1
        first, last = map(float, result["driver's memory, first and last tenth (MB)"].split(","))
        assert last < first + 20


def test_a_cluster_of_this_machine_listens_to_nobody_else_and_private_cells_reach_nobody(tmp_path: Path) -> None:
    small = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": STORE_BYTES}
    with closing(RayEngine(reach_out, Setup(private=True), **small)) as engine:
        (cell,) = people(tmp_path, 1)
        outcome = engine.submit(cell, (b"photo",), (b"look",)).result(timeout=120)
        started = psutil.Process().children(recursive=True)
        listening = {
            connection.laddr.ip
            for process in started
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert outcome.result.error == "OutgoingConnectionError"
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
