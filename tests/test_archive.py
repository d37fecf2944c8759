import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from qahm_torch.annealer import AnswerArchive
from qahm_torch.device import AnnealerWarning


def filled(folder, number=3):
    archive = AnswerArchive(folder)
    for k in range(number):
        archive.append({"kind": "answer", "k": k}, {"spins": np.full((2, k + 1), k)})
    return archive


def numbers(folder):
    return [record.meta["k"] for record in AnswerArchive(folder)]


def test_records_come_back_in_order(tmp_path):
    for k, record in enumerate(filled(tmp_path / "new" / "folder")):
        assert record.meta["k"] == k and record.meta["time"] > 0
        assert np.array_equal(record.arrays["spins"], np.full((2, k + 1), k))


def test_a_record_that_was_cut_short_is_left_out_wherever_it_was_cut(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*.qahm")
    data = file.read_bytes()
    whole = data.rindex(b"QAHM")
    for size in (whole + 1, whole + 10, (whole + len(data)) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        with pytest.warns(AnnealerWarning, match=f"{file.name} has 1 damaged"):
            assert numbers(tmp_path) == [0, 1]


def test_a_damaged_record_is_left_out(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*.qahm")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.warns(AnnealerWarning, match="1 damaged"):
        assert numbers(tmp_path) == [0, 1]


def test_any_damaged_byte_costs_its_record_only(tmp_path):
    filled(tmp_path)
    filled(tmp_path, 1)
    first, _ = sorted(tmp_path.glob("*.qahm"))
    data = first.read_bytes()
    second = data.index(b"QAHM", 4)
    for position in [*range(second, second + 16), second + 30]:
        broken = bytearray(data)
        broken[position] ^= 1
        first.write_bytes(broken)
        with pytest.warns(AnnealerWarning, match="1 damaged"):
            assert numbers(tmp_path) == [0, 2, 0]
        assert AnswerArchive(tmp_path).damage() == {first: 1}


def test_a_full_disk_costs_no_record_but_its_own(tmp_path, monkeypatch):
    archive, write = filled(tmp_path, 1), os.write
    full = OSError(28, "No space left on device")

    def half(descriptor, data):
        monkeypatch.setattr(os, "write", refuse)
        return write(descriptor, bytes(data[:20]))

    def refuse(descriptor, data):
        raise full

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        archive.append({"k": 1}, {})
    assert "No space" in archive.keep({"k": 2}, {})
    monkeypatch.setattr(os, "write", write)
    archive.append({"k": 3}, {})
    assert numbers(tmp_path) == [0, 2, 3]


def test_four_processes_write_into_one_archive_and_nothing_is_lost(tmp_path):
    script = (
        "import sys; from qahm_torch.annealer import AnswerArchive\n"
        "archive = AnswerArchive(sys.argv[1])\n"
        "for k in range(25): archive.append({'k': int(sys.argv[2]) * 25 + k}, {})"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(k)]) for k in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert sorted(numbers(tmp_path)) == list(range(100))


def test_what_was_written_is_never_touched_by_a_later_writer(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*.qahm")
    file.write_bytes(file.read_bytes()[:-3])
    before = file.read_bytes()
    filled(tmp_path)
    assert file.read_bytes() == before
    with pytest.warns(AnnealerWarning, match="1 damaged"):
        assert numbers(tmp_path) == [0, 1, 0, 1, 2]


def test_a_copy_in_another_process_writes_its_own_file(tmp_path):
    archive = filled(tmp_path, 1)
    script = "import pickle, sys; pickle.load(sys.stdin.buffer).append({'k': 7}, {})"
    subprocess.run([sys.executable, "-c", script], input=pickle.dumps(archive), check=True)
    archive.append({"k": 8}, {})
    assert len(list(tmp_path.glob("*.qahm"))) == 2
    assert sorted(numbers(tmp_path)) == [0, 7, 8]


def test_pickled_archive_has_the_folder_only(tmp_path):
    archive = filled(tmp_path, 2)
    copy = pickle.loads(pickle.dumps(archive))
    copy.append({"k": 5}, {})
    assert numbers(tmp_path) == [0, 1, 5] and repr(copy) == repr(archive)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError):
        AnswerArchive(tmp_path).append({"k": 0}, {})
