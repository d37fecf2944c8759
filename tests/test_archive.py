import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from qahm_torch.annealer import AnswerArchive


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
        assert numbers(tmp_path) == [0, 1]


def test_a_damaged_record_is_left_out(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*.qahm")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    assert numbers(tmp_path) == [0, 1]


def test_what_was_written_is_never_touched_by_a_later_writer(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*.qahm")
    file.write_bytes(file.read_bytes()[:-3])
    before = file.read_bytes()
    filled(tmp_path)
    assert file.read_bytes() == before
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
