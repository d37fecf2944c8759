r"""The wire format of the cloud service for problems on a chip, with numpy."""

from __future__ import annotations

__all__ = ["Wiring", "decode_answer", "encode_problem", "is_problem_id"]

import base64
import re
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np

from qahm_torch.device.door import Job
from qahm_torch.device.redaction import redacted

# Qubits, nominally: there is an entry for each in what is sent.
LARGEST = 10**7
# It becomes a part of addresses, of messages and of the archive.
PROBLEM_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Wiring:
    r"""Where qubits and couplers are in what is sent: the order of the solver's own lists.

    Arguments:
        qubits: The solver's qubits.
        couplers: The solver's couplers.
        num_qubits: The nominal number of qubits, missing ones included.
    """

    def __init__(self, qubits: list[int], couplers: list[list[int]], num_qubits: int):
        self.qubits = np.asarray(qubits, dtype=np.int64)
        self.couplers = np.asarray(couplers, dtype=np.int64).reshape(-1, 2)
        largest = int(self.qubits.max(initial=0))
        if isinstance(num_qubits, bool) or not largest < num_qubits < LARGEST:
            raise ValueError(
                f"num_qubits of the solver is {num_qubits}, but its qubits go up to {largest}"
            )
        self.num_qubits = int(num_qubits)

    @cached_property
    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        r"""The couplers as numbers, sorted, and the position of each."""
        order = np.argsort(self.numbers(self.couplers))
        return self.numbers(self.couplers)[order], order

    def numbers(self, couplers: np.ndarray) -> np.ndarray:
        r"""Returns a number for each coupler, by which it is found whatever its direction."""
        number: np.ndarray = couplers.min(1) * self.num_qubits + couplers.max(1)
        return number


def encode_problem(job: Job, wiring: Wiring) -> dict[str, Any]:
    r"""Returns the `data` of a problem: fields by qubit, couplings by coupler, in base64.

    Fields are little-endian doubles, NaN for qubits that are not used; couplings are those of all
    couplers whose two ends are used.
    """
    lin = np.full(wiring.num_qubits, np.nan)
    lin[job.qubits] = job.h
    used = np.zeros(wiring.num_qubits, dtype=bool)
    used[job.qubits] = True
    quad = np.zeros(len(wiring.couplers))
    keys, order = wiring.slots
    quad[order[np.searchsorted(keys, wiring.numbers(job.qubits[job.couplers]))]] = job.J
    return {
        "format": "qp",
        "lin": _to_text(lin[wiring.qubits]),
        "quad": _to_text(quad[used[wiring.couplers].all(1)]),
        "offset": 0.0,
    }


def decode_answer(answer: dict[str, Any]) -> dict[str, np.ndarray | None]:
    r"""Returns columns (Q,), spins (R, Q), energies (R,) and num_occurrences (R,) or None.

    Only the qubits that were used are unpacked; the client's own decoder fills tables of the whole
    width of the chip, which is most of its time.

    Raises:
        ValueError, KeyError, TypeError: If the answer is not in the format.
    """
    if answer["format"] != "qp":
        raise ValueError(f"its format is {answer['format']!r}")
    columns = _numbers(answer["active_variables"], "<i4").astype(np.int64)
    energies = _numbers(answer["energies"], "<f8")
    packed = _numbers(answer["solutions"], "u1").reshape(len(energies), -1)
    if packed.shape[1] != -(-len(columns) // 8):
        raise ValueError(f"its rows have {packed.shape[1]} bytes for {len(columns)} qubits")
    bits = np.unpackbits(packed, axis=1, count=len(columns))
    occurrences = answer.get("num_occurrences")
    return {
        "columns": columns,
        "spins": bits.astype(np.int8) * 2 - 1,
        "energies": energies,
        "num_occurrences": None if occurrences is None else _numbers(occurrences, "<i4"),
    }


def is_problem_id(known: Any) -> TypeGuard[str]:
    r"""Whether something that a service gives can be the identity of a problem."""
    is_plain = isinstance(known, str) and PROBLEM_ID.fullmatch(known) is not None
    return is_plain and redacted(known) == known


def _to_text(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode("ascii")


def _numbers(text: Any, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype)
