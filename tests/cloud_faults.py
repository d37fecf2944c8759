r"""The faults of the loopback cloud service: each is a small function, looked up by its name.

There are four tables, by what a fault has in its hands:

- `EXCHANGE_FAULTS`: one request and its answer, at any step;
- `JOB_FAULTS`: one problem at its submission, step "submit";
- `ANSWER_FAULTS`: the samples before they are encoded, step "load";
- `MESSAGE_FAULTS`: the encoded answer, step "load".
"""

from __future__ import annotations

__all__ = [
    "ANSWER_FAULTS",
    "EXCHANGE_FAULTS",
    "JOB_FAULTS",
    "MESSAGE_FAULTS",
    "STEPS",
    "FaultPlan",
    "packed_zeros",
]

import base64
import contextlib
import inspect
import json
import os
import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from mutations import mutation

if TYPE_CHECKING:
    from cloud_chip import Answer, Problem
    from cloud_service import Exchange, Reply

WINDOWS = {"gzip": 31, "deflate": 15}
STEPS = ("metadata", "submit", "poll", "load", "cancel", "list")


class FaultPlan:
    r"""The faults to come, taken one by one as requests, jobs and answers pass."""

    def __init__(self) -> None:
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    def add(self, step: str, kind: str, times: int | None, after: int, details: dict) -> None:
        r"""Plans a fault; see `CloudService.fault`.

        Raises:
            ValueError: If there is no such step, or no such kind of fault at this step.
            TypeError: If the fault does not take these details.
        """
        if step not in STEPS:
            raise ValueError(f"step is {step!r}, but has to be one of {', '.join(STEPS)}")
        tables = [table for table in _tables_at(step) if kind in table]
        if not tables:
            known = sorted(name for table in _tables_at(step) for name in table)
            raise ValueError(f"kind is {kind!r}, but at {step!r} has to be one of {known}")
        function = partial(tables[0][kind], **details)
        inspect.signature(tables[0][kind]).bind(None, **details)
        with self._lock:
            self._faults.append(_Fault(step, function, tables[0], times, after))

    def clear(self) -> None:
        r"""Drops all faults that are planned."""
        with self._lock:
            self._faults.clear()

    def take(self, step: str, table: Mapping, honest: Callable) -> Callable:
        r"""Returns the fault of this table that is due now, else what an honest service does."""
        with self._lock:
            due = (f for f in self._faults if f.step == step and f.table is table)
            return next((fault.function for fault in due if fault.strikes()), honest)


@dataclass
class _Fault:
    step: str
    function: Callable
    table: Mapping
    times: int | None
    after: int

    def strikes(self) -> bool:
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


# Transport: the request is not processed unless the name says so.


def drop(exchange: Exchange) -> None:
    exchange.close_connection = True


def reset(exchange: Exchange) -> None:
    drop(exchange)
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # An ordinary close would wait for the files around the socket and say goodbye first.
    os.close(exchange.connection.detach())


def stall(exchange: Exchange, seconds: float | None = None) -> None:
    exchange.closing.wait(seconds)
    drop(exchange)


def accept_then_drop(exchange: Exchange) -> None:
    exchange.process()
    drop(exchange)


def accept_then_stall(exchange: Exchange, seconds: float | None = None) -> None:
    reply = exchange.process()
    exchange.closing.wait(seconds)
    exchange.send(reply)


def truncate(exchange: Exchange, missing: int = 1) -> None:
    reply = exchange.process()
    exchange.send_head(reply)
    exchange.wfile.write(reply.body[:-missing])
    drop(exchange)


def drip(exchange: Exchange, pause: float = 0.001) -> None:
    reply = exchange.process()
    exchange.send_head(reply)
    for position in range(len(reply.body)):
        exchange.wfile.write(reply.body[position : position + 1])
        exchange.wfile.flush()
        exchange.closing.wait(pause)


def drip_head(exchange: Exchange, pause: float = 0.02) -> None:
    exchange.process()
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    _repeat(exchange, b"a", pause)


def drip_status(exchange: Exchange, pause: float = 0.02) -> None:
    exchange.process()
    _repeat(exchange, b"HTTP/1.1 100 Continue\r\n\r\n", pause)


def drip_body(exchange: Exchange, pause: float = 0.02) -> None:
    media = exchange.process().content_type or ""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {2**30}\r\n\r\n"
    exchange.wfile.write(head.encode())
    _repeat(exchange, b" ", pause)


def _repeat(exchange: Exchange, data: bytes, pause: float) -> None:
    drop(exchange)
    while not exchange.closing.is_set():
        exchange.wfile.write(data)
        exchange.wfile.flush()
        exchange.closing.wait(pause)


def bomb(exchange: Exchange, num_bytes: int, coding: str = "gzip") -> None:
    reply = exchange.process()._replace(headers={"Content-Encoding": coding})
    exchange.send(reply._replace(body=packed_zeros(num_bytes, coding)))


@cache
def packed_zeros(num_bytes: int, coding: str) -> bytes:
    packer, piece = zlib.compressobj(1, wbits=WINDOWS[coding]), bytes(2**16)
    return b"".join(packer.compress(piece) for _ in range(num_bytes // 2**16)) + packer.flush()


def packed(exchange: Exchange, coding: str = "gzip") -> None:
    reply = exchange.process()._replace(headers={"Content-Encoding": coding})
    packer = zlib.compressobj(wbits=WINDOWS[coding])
    exchange.send(reply._replace(body=packer.compress(reply.body) + packer.flush()))


# Statuses and the protocol.


def status(
    exchange: Exchange,
    code: int,
    retry_after: float | None = None,
    message: str = "an injected fault",
) -> None:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    exchange.send(exchange.error(code, message)._replace(headers=headers))


def odd_error(exchange: Exchange, body: str, code: int = 503, retry_after: str = "0") -> None:
    reply = exchange.error(code, "")
    exchange.send(reply._replace(body=body.encode(), headers={"Retry-After": retry_after}))


def accept_then_status(exchange: Exchange, code: int) -> None:
    exchange.process()
    status(exchange, code)


def gateway(exchange: Exchange, code: int, accepts: bool = False) -> None:
    r"""Says what those in between say, of which the service knows nothing."""
    if accepts:
        exchange.process()
    reply = exchange.error(code, "")
    exchange.send(reply._replace(body=b"<html>upstream</html>", content_type="text/html"))


def redirect(exchange: Exchange, location: str, code: int = 307) -> None:
    exchange.send(exchange.error(code, "moved")._replace(headers={"Location": location}))


def with_body(exchange: Exchange, body: bytes) -> None:
    exchange.send(exchange.process()._replace(body=body))


def with_content_type(exchange: Exchange, content_type: str | None) -> None:
    exchange.send(exchange.process()._replace(content_type=content_type))


def with_headers(exchange: Exchange, headers: Mapping[str, str]) -> None:
    exchange.send(exchange.process()._replace(headers=headers))


def with_fields(exchange: Exchange, **fields: Any) -> None:
    exchange.send(_edited(exchange.process(), lambda item: item.update(fields)))


def no_status(exchange: Exchange) -> None:
    exchange.send(_edited(exchange.process(), lambda item: item.pop("status", None)))


def unknown_status(exchange: Exchange, status: str = "SUPERPOSED") -> None:
    exchange.send(_edited(exchange.process(), lambda item: item.update(status=status)))


def other_label(exchange: Exchange) -> None:
    exchange.send(_edited(exchange.process(), lambda item: item.update(label="of-somebody")))


def no_id(exchange: Exchange) -> None:
    exchange.send(_edited(exchange.process(), lambda item: item.pop("id", None)))


def mutated(exchange: Exchange, seed: int) -> None:
    reply = exchange.process()
    exchange.send(reply._replace(body=mutation(reply.body, random.Random(seed))))


def mutated_properties(exchange: Exchange, seed: int) -> None:
    randomness = random.Random(seed)

    def edit(solver: dict) -> None:
        properties = solver.get("properties")
        if properties is None:  # told in another answer
            return
        for _ in range(randomness.randint(1, 3)):
            name = randomness.choice(sorted(properties))
            body = mutation(json.dumps({name: properties.pop(name)}).encode(), randomness)
            with contextlib.suppress(ValueError, TypeError):
                properties.update(json.loads(body))

    exchange.send(_edited(exchange.process(), edit))


EXCHANGE_FAULTS: dict[str, Callable] = {
    "drop": drop,
    "reset": reset,
    "stall": stall,
    "accept_then_drop": accept_then_drop,
    "accept_then_stall": accept_then_stall,
    "truncate": truncate,
    "drip": drip,
    "drip_head": drip_head,
    "drip_status": drip_status,
    "drip_body": drip_body,
    "bomb": bomb,
    "packed": packed,
    "status": status,
    "odd_error": odd_error,
    "accept_then_status": accept_then_status,
    "gateway": gateway,
    "redirect": redirect,
    "not_json": partial(with_body, body=b"<html>Bad gateway</html>"),
    "empty_body": partial(with_body, body=b""),
    "wrong_content_type": partial(with_content_type, content_type="application/json"),
    "no_content_type": partial(with_content_type, content_type=None),
    "null": partial(with_body, body=b"null"),
    "number": partial(with_body, body=b"7"),
    "empty_list": partial(with_body, body=b"[]"),
    "empty_object": partial(with_body, body=b"{}"),
    "with_headers": with_headers,
    "with_fields": with_fields,
    "no_status": no_status,
    "unknown_status": unknown_status,
    "other_label": other_label,
    "no_id": no_id,
    "deep": partial(with_body, body=b"[" * 200_000),
    "mutated": mutated,
    "mutated_properties": mutated_properties,
}


# Jobs.


def fail(problem: Problem, message: str = "The problem could not be programmed") -> None:
    problem.outcome, problem.error_message = "FAILED", message


def cancel(problem: Problem) -> None:
    problem.outcome = "CANCELLED"


def pending_forever(problem: Problem) -> None:
    problem.delay = None


def slow(problem: Problem, seconds: float) -> None:
    problem.delay = seconds


def refuse(problem: Problem, error_code: int = 400, error_msg: str = "Refused") -> None:
    problem.refusal = {"error_code": error_code, "error_msg": error_msg}


JOB_FAULTS: dict[str, Callable] = {
    "fail": fail,
    "cancel": cancel,
    "offline": partial(fail, message="Solver is offline"),
    "pending_forever": pending_forever,
    "slow": slow,
    "refuse": refuse,
}


# Answers: the samples.


def short_reads(answer: Answer, missing: int = 1) -> Answer:
    counts = answer.occurrences
    return answer._replace(
        bits=answer.bits[:-missing],
        energies=answer.energies[:-missing],
        occurrences=None if counts is None else counts[:-missing],
    )


def nan_energies(answer: Answer) -> Answer:
    return answer._replace(energies=np.full_like(answer.energies, np.nan))


def wrong_energies(answer: Answer, shift: float = 1.0) -> Answer:
    return answer._replace(energies=answer.energies + shift)


def shifted_labels(answer: Answer) -> Answer:
    return answer._replace(qubits=answer.qubits + 1)


def missing_variables(answer: Answer) -> Answer:
    return answer._replace(qubits=answer.qubits[1:], bits=answer.bits[:, 1:])


def extra_variables(answer: Answer) -> Answer:
    unused = np.setdiff1d(np.arange(answer.num_variables), answer.qubits)[:1]
    return answer._replace(
        qubits=np.append(answer.qubits, unused),
        bits=np.pad(answer.bits, ((0, 0), (0, len(unused)))),
    )


ANSWER_FAULTS: dict[str, Callable] = {
    "short_reads": short_reads,
    "nan_energies": nan_energies,
    "wrong_energies": wrong_energies,
    "shifted_labels": shifted_labels,
    "missing_variables": missing_variables,
    "extra_variables": extra_variables,
}


# Answers: their encoding.


def without(message: dict, field: str) -> dict:
    return {key: value for key, value in message.items() if key != field}


def put(message: dict, **fields: Any) -> dict:
    return message | fields


def cut(message: dict, field: str, num_bytes: int) -> dict:
    whole = base64.b64decode(message[field])
    return message | {field: base64.b64encode(whole[:-num_bytes]).decode()}


MESSAGE_FAULTS: dict[str, Callable] = {
    "no_answer": lambda message: None,
    "truncated_solutions": partial(cut, field="solutions", num_bytes=1),
    "truncated_energies": partial(cut, field="energies", num_bytes=8),
    # One character more than a multiple of four cannot be decoded.
    "bad_base64": partial(put, solutions="A"),
    "missing_num_occurrences": partial(without, field="num_occurrences"),
    "wrong_num_variables": partial(put, num_variables=1),
    "with_answer": put,
    "no_timing": partial(without, field="timing"),
    "null_timing": partial(put, timing=None),
    "other_format": partial(put, format="unheard-of"),
}


def _tables_at(step: str) -> list[dict[str, Callable]]:
    at_step = {"submit": [JOB_FAULTS], "load": [ANSWER_FAULTS, MESSAGE_FAULTS]}
    return [EXCHANGE_FAULTS, *at_step.get(step, [])]


def _edited(reply: Reply, edit: Callable[[dict], object]) -> Reply:
    content = json.loads(reply.body)
    for item in content if isinstance(content, list) else [content]:
        edit(item)
    return reply._replace(body=json.dumps(content).encode())
