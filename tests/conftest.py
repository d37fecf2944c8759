import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    r"""The run folder of a small machine that the command line has trained for two epochs."""
    from small_runs import fit, small_config

    return fit(tmp_path_factory.mktemp("fitted"), small_config())
