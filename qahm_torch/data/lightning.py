r"""Lightning, or one line that says why it cannot be imported."""

from __future__ import annotations

__all__ = ["pl"]

try:
    import pytorch_lightning as pl
# RuntimeError: a torchvision built for another torch does not find its operators
except (ImportError, RuntimeError) as error:
    reason = str(error).partition("\n")[0]
    raise ImportError(
        f"pytorch-lightning cannot be imported ({reason}); install torch, torchvision and "
        "pytorch-lightning from the same source: pip install --force-reinstall torch torchvision "
        "pytorch-lightning"
    ) from error
