r"""Trained machines that come with the package: their names, cards and files."""

from qahm_torch.pretrained.shipped import card as card, names as names, path_of as path_of
