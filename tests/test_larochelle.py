r"""The published split of binarized MNIST, from small files in its format."""

import pytest
import torch

from qahm_torch.data import MNIST28, larochelle

SIZES = {"train": 7, "valid": 3, "test": 4}


@pytest.fixture
def bits(monkeypatch):
    monkeypatch.setattr(larochelle, "LAROCHELLE_SIZES", SIZES)
    generator = torch.Generator().manual_seed(0)
    return {
        part: torch.randint(2, (size, 784), generator=generator) for part, size in SIZES.items()
    }


@pytest.fixture
def folder(tmp_path, bits):
    folder = tmp_path / "binarized_mnist"
    folder.mkdir()
    for part, rows in bits.items():
        # One with blanks at the ends of its lines, and none after the last one.
        end = " \r\n" if part == "valid" else "\n"
        text = end.join(" ".join(map(str, row)) for row in rows.tolist())
        (folder / f"binarized_mnist_{part}.amat").write_text(text + end * (part == "train"))
    return folder


def test_parts_are_those_of_the_files(folder, bits):
    data = MNIST28(str(folder.parent), batch_size=2, binarize="larochelle")
    data.prepare_data()
    data.setup()
    for rows, part in ((data.train, "train"), (data.val, "valid"), (data.test, "test")):
        assert torch.equal(rows, 2.0 * bits[part] - 1)
    shuffled = torch.cat(list(data.train_dataloader()))
    assert sorted(shuffled.tolist()) == sorted(data.train.tolist())
    assert torch.equal(torch.cat(list(data.test_dataloader())), data.test)
    assert data.summary() == {
        **{"class": "MNIST28", "num_train": 7, "num_val": 3, "num_test": 4},
        "binarize": "larochelle",
    }


def test_the_environment_names_the_folder(folder, monkeypatch):
    monkeypatch.setenv("QAHM_DATA", str(folder.parent))
    data = MNIST28(binarize="larochelle")
    data.setup()
    assert len(data.test) == 4


@pytest.mark.parametrize("part", SIZES)
def test_a_missing_file_is_told_with_what_is_expected_where(folder, part):
    (folder / f"binarized_mnist_{part}.amat").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        MNIST28(str(folder.parent), binarize="larochelle").setup()
    message = str(caught.value)
    assert message.startswith(f"binarized_mnist_{part}.amat is not in {folder}.")
    for told in ("784 values, 0 or 1", "binarized_mnist_valid.amat (3)", "QAHM_DATA"):
        assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.rindex("\n")], "holds 3 images, but Larochelle's has 4"),
        (lambda text: text + "\n" + text, "holds 8 images, but Larochelle's has 4"),
        (lambda text: text[:-4], "image 4 in .* is not of 784 values"),
        (lambda text: text.replace("\n", " "), "image 1 in .* is not of 784 values"),
        (lambda text: "2" + text[1:], "image 1 in .* is not of 784 values, 0 or 1"),
        (lambda text: "", "holds 0 images"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder, change, message):
    path = folder / "binarized_mnist_test.amat"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        MNIST28(str(folder.parent), binarize="larochelle").setup()


def test_what_it_does_not_have_is_refused():
    with pytest.raises(ValueError, match="num_val is 1000, but Larochelle's draw has .* 10000"):
        MNIST28(binarize="larochelle", num_val=1000)
    with pytest.raises(ValueError, match="classes is True"):
        MNIST28(binarize="larochelle", classes=True)
    with pytest.raises(ValueError, match="binarize is 'hugo', but it is 'static', 'dynamic' or"):
        MNIST28(binarize="hugo")
