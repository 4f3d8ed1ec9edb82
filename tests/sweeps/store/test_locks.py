"""Who may write into a run folder: exclusive, shared by shards, named, and free after a kill."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels.sweeps.errors import FolderError, InUse, SpecError
from toymodels.sweeps.store import locks
from toymodels.sweeps.store.locks import Lock, Shard, moment

HOLD = """
import sys, time
from pathlib import Path
from toymodels.sweeps.store.locks import Lock, Shard
Lock(Path(sys.argv[1]), Shard.parse(sys.argv[2]) if len(sys.argv) > 2 else None).take()
print("held", flush=True)
time.sleep(60)
"""


def taken(folder: Path, shard: str | None = None) -> Lock:
    lock = Lock(folder, Shard.parse(shard) if shard else None)
    lock.take()
    return lock


@given(st.integers(0, 40), st.integers(1, 40))
def test_every_pack_is_in_exactly_one_shard(packs, of):
    shards = [Shard(index, of) for index in range(of)]
    for pack in range(packs):
        assert sum(shard.has(pack) for shard in shards) == 1
    sizes = [sum(shard.has(pack) for pack in range(packs)) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["", "1", "3/3", "-1/3", "1/0", "a/b", "1/3/4", "1 /3", "1/3x", "/3", "1/"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(SpecError, match="--shard: expected I/N"):
        Shard.parse(text)
    assert str(Shard.parse("2/3")) == "2/3"


def test_one_holds_all_and_the_other_is_told_who(tmp_path):
    first = taken(tmp_path)
    for shard in (None, "0/2"):
        with pytest.raises(InUse, match=f"in use by process {os.getpid()} on"):
            taken(tmp_path, shard)
    first.release()
    taken(tmp_path, "0/2").release()


def test_shards_hold_it_together_and_keep_all_others_out(tmp_path):
    shards = [taken(tmp_path, f"{index}/3") for index in range(3)]
    with pytest.raises(InUse, match="shard 1/3"):
        taken(tmp_path, "1/3")
    with pytest.raises(InUse, match=r"shard 0/3 and process .*, shard 1/3 and process .*, shard 2/3"):
        taken(tmp_path)
    shards.pop().release()
    with pytest.raises(InUse, match=r"shard 0/3 and process .*, shard 1/3:"):
        taken(tmp_path)
    for shard in shards:
        shard.release()
    taken(tmp_path).release()


def test_shards_of_another_number_would_train_the_same_packs(tmp_path):
    held = taken(tmp_path, "0/3")
    with pytest.raises(InUse, match="shard 0/3"):
        taken(tmp_path, "1/4")
    held.release()
    taken(tmp_path, "1/4").release()


def test_what_is_refused_holds_nothing(tmp_path):
    held = taken(tmp_path, "0/3")
    for _ in range(3):
        with pytest.raises(InUse):
            taken(tmp_path, "0/3")
    held.release()
    taken(tmp_path).release()


@pytest.mark.parametrize("shard", [None, "0/2"])
def test_a_killed_holder_holds_nothing(tmp_path, shard):
    command = [sys.executable, "-c", HOLD, str(tmp_path), *([shard] if shard else [])]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InUse, match=f"process {holder.pid} on"):
        taken(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    taken(tmp_path).release()


def test_a_process_that_stays_at_the_door_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    door = os.open(tmp_path / ".lock-begin", os.O_RDWR | os.O_CREAT)
    fcntl.flock(door, fcntl.LOCK_EX)
    with pytest.raises(FolderError, match="does not go on"):
        taken(tmp_path)
    os.close(door)
    with moment(tmp_path):
        pass
    taken(tmp_path).release()


@pytest.mark.parametrize("mode", [0o2775, 0o777, 0o750, 0o700])
@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_a_lock_file_may_be_read_and_written_by_whom_the_folder_may(tmp_path, mode, umask):
    tmp_path.chmod(mode)
    takes = "import sys; from pathlib import Path; from toymodels.sweeps.store.locks import Lock, Shard; "
    takes += "Lock(Path(sys.argv[1]), Shard(0, 2)).take()"
    subprocess.run([sys.executable, "-c", takes, str(tmp_path)], check=True, umask=umask)
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert rights == dict.fromkeys((".lock", ".lock-0-of-2", ".lock-begin"), mode & 0o666)


def test_who_may_not_write_a_lock_file_holds_it_unnamed(tmp_path, monkeypatch):
    """It still names who was killed while holding it, which is no reason to name that one now."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale = f"process {ended.pid} on {platform.node()}\n"
    (tmp_path / ".lock").write_text(stale)
    real = os.open

    def for_reading(path, flags, *rest, **named):
        if path == tmp_path / ".lock" and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", for_reading)
        held = taken(tmp_path)
    with pytest.raises(InUse, match="in use by another process:"):
        taken(tmp_path)
    assert [holder.name for holder in Lock(tmp_path).holders()] == ["another process"]
    held.release()
    assert (tmp_path / ".lock").read_text() == stale
    taken(tmp_path).release()


def test_who_lets_go_is_no_longer_named(tmp_path):
    held = taken(tmp_path)
    assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}\n"
    held.release()
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EIO"])
def test_a_file_system_without_locks_is_refused_and_holds_nobody(tmp_path, monkeypatch, name):
    number = getattr(errno, name)

    def no_locks(_descriptor, _kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(FolderError, match=os.strerror(number)) as caught:
        taken(tmp_path)
    assert caught.value.exit_code == 4
    assert ("--out a folder on a local disk" in str(caught.value)) == (name != "EIO")
    (tmp_path / ".lock").touch()
    assert Lock(tmp_path).holders() == []


@pytest.mark.parametrize("name", [".lock", ".lock-begin"])
def test_a_pipe_for_a_lock_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert Lock(tmp_path).holders() == []
    with pytest.raises(FolderError, match="not a regular file"):
        taken(tmp_path)


def test_a_lock_file_is_no_link(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="cannot be opened"):
        taken(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
