"""A shared folder in the place of an object store: what lies in it is what a run needs now, and gone afterwards."""

import json
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import pytest
from running import ROOT
from staff_stand_in import Drawer, ThreadEngine, people, rows

from magicapture.settings import settings
from magicapture.staff.batch import Meter, compute_cells
from magicapture.staff.cell import Cell, CellResult
from magicapture.staff.engines import Engine, EngineError
from magicapture.staff.engines.shared import SHARE, SharedEngine, SharedFolder, clear_share, sharing
from magicapture.staff.forget import forget
from magicapture.staff.run_folder import Entry, RunFolder
from magicapture.staff.work import Outcome, Pictures, Setup

pytest_plugins = ["staff_fixtures"]


def compute(engine: Engine, cells: list[Cell], run: RunFolder) -> dict[int, CellResult]:
    with closing(engine):
        return {result.person: result for result in compute_cells(cells, engine, run, Meter())}


def drawn(run: RunFolder) -> dict[Path, bytes]:
    files = [path for path in (run.folder / "cells").glob("*/**/*") if path.is_file() and path.name != "result.json"]
    return {path.relative_to(run.folder): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_what_goes_through_a_folder_comes_back_as_it_would_without(
    tmp_path: Path, run: RunFolder, drawer: Drawer, kind: str
) -> None:
    cells, seen = people(tmp_path, 4), []
    address = f"memory://{tmp_path.name}" if kind == "memory" else f"file://{tmp_path / 'share'}"
    system, root = fsspec.core.url_to_fs(address)

    def work(cell: Cell, photos: Pictures, looks: Pictures) -> Outcome:
        seen.extend(system.find(root))
        return drawer(cell, photos, looks)

    with sharing(address, "ray", run) as share:
        found = compute(SharedEngine(share, work, ThreadEngine), cells, run)
    assert {result.state for result in found.values()} == {"done"}
    assert any("/photos/000" in name for name in seen)
    assert not any("Name" in name for name in seen)
    assert system.find(root) == []
    assert not (run.folder / SHARE).exists()
    plain = RunFolder(tmp_path / "plain")
    compute(ThreadEngine(drawer), cells, plain)
    assert drawn(run) == drawn(plain)


def test_one_persons_failure_is_theirs_alone_and_leaves_no_photos(
    tmp_path: Path, run: RunFolder, drawer: Drawer
) -> None:
    with sharing("memory://unlucky", "ray", run) as share:
        engine = SharedEngine(share, replace(drawer, fails=frozenset({2})), ThreadEngine)
        found = compute(engine, people(tmp_path, 3), run)
    assert [found[person].state for person in (1, 2, 3)] == ["done", "failed", "done"]
    assert fsspec.filesystem("memory").find("/unlucky") == []


def test_what_a_killed_run_left_goes_with_the_next(run: RunFolder) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/killed/magicapture-1/key/photos/000": b"photo", "/killed/theirs": b"not ours"})
    run.write_json(SHARE, "memory://killed/magicapture-1")
    clear_share(run)
    assert memory.find("/killed") == ["/killed/theirs"]
    assert not (run.folder / SHARE).exists()


def test_to_forget_somebody_while_a_run_goes_on_leaves_the_others_photos_in_their_place(
    tmp_path: Path, run: RunFolder
) -> None:
    theirs = rows(tmp_path, 2)
    numbers = run.number_of(row.person_id for row in theirs)
    run.write_entries(Entry(row, numbers[row.person_id], f"key{numbers[row.person_id]}") for row in theirs)
    with sharing("memory://going", "ray", run) as share:
        SharedFolder(share).write({f"key{person}/photos/000": b"photo" for person in (1, 2)})
        forget(run, 1)
        assert SharedFolder(share).names("key1") == []
        assert len(SharedFolder(share).names("key2")) == 1
        assert (run.folder / SHARE).is_file(), "or nobody would find what a killed run leaves"


@pytest.mark.parametrize(
    ("address", "engine", "said"),
    [
        ("nfs://server/way", "ray", "The shared folder nfs://server/way cannot be used: Protocol not known: nfs"),
        ("memory://x", "local", "The engine local needs no shared folder"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told(run: RunFolder, address: str, engine: str, said: str) -> None:
    with pytest.raises(EngineError, match=said), sharing(address, engine, run):
        pass
    assert not (run.folder / SHARE).exists()


@pytest.mark.parametrize("address", ["s3://bucket/way", "simplecache::s3://bucket", "file::memory://x"])
def test_private_mode_lets_no_photo_leave_through_a_folder(
    tmp_path: Path, run: RunFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGICAPTURE_PRIVATE", "1")
    monkeypatch.setenv("MAGICAPTURE_USERS", "anna:secret")
    settings.cache_clear()
    with pytest.raises(EngineError, match="photos would leave this machine for"), sharing(address, "ray", run):
        pass
    assert not (run.folder / SHARE).exists()
    with sharing(str(tmp_path / "share"), "ray", run) as share:
        assert share
    monkeypatch.undo()
    settings.cache_clear()


@pytest.mark.slow
def test_a_cluster_works_through_a_folder(tmp_path: Path, run: RunFolder, drawer: Drawer, monkeypatch) -> None:
    from magicapture.staff.engines.on_ray import RayEngine  # noqa: PLC0415  an extra

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    start = partial(RayEngine, setup=Setup(), num_cpus=4, num_gpus=0)
    with sharing(f"file://{tmp_path / 'share'}", "ray", run) as share:
        found = compute(SharedEngine(share, drawer, start), people(tmp_path, 4), run)
    assert {result.state for result in found.values()} == {"done"}
    assert [path for path in (tmp_path / "share").rglob("*") if path.is_file()] == []
    assert json.loads((run.folder / "cells" / found[1].key / "result.json").read_text())["state"] == "done"
