"""A process for expressions whose work cannot be bounded beforehand: stopped after a second, or at its memory limit.

    python -m tmws_workflow.sandbox        reads requests on stdin, writes answers on stdout, ends with stdin

A message is its length (4 bytes, big-endian) and JSON: `{"text", "knows_item", "data"}` → `{"value"}` or `{"error"}`.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any, BinaryIO

import orjson

from tmws_workflow.expressions import Expression, ExpressionError, check_size, compile_expression, evaluate

TIMEOUT_S = 1.0
START_TIMEOUT_S = 15.0
MEMORY_BYTES = 1024 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class Sandbox:
    """Evaluates expressions in a child process, one at a time; the child is made when first needed."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._child: Process | None = None
        self._free = asyncio.Lock()

    async def evaluate(self, expression: Expression, data: dict[str, Any]) -> Any:
        """Return the expression's value.

        Raises:
            ExpressionError: it has none, or needs more time or memory than it may.
        """
        request = orjson.dumps({"text": expression.text, "knows_item": expression.knows_item, "data": data})
        async with self._free:
            try:
                child = await self._start()
                async with asyncio.timeout(self._timeout_s):
                    answer = await _ask(child, request)
            except TimeoutError:
                await self._stop()
                raise ExpressionError(f"the evaluation took longer than {self._timeout_s:g} s") from None
            except (EOFError, OSError):
                await self._stop()
                raise ExpressionError("the evaluation needed more memory than it may use") from None
            except asyncio.CancelledError:
                await self._stop()
                raise
        if "error" in answer:
            raise ExpressionError(answer["error"])
        return answer["value"]

    async def close(self) -> None:
        """End the child."""
        async with self._free:
            await self._stop()

    async def _start(self) -> Process:
        if self._child is None:
            command = (sys.executable, "-m", "tmws_workflow.sandbox")
            self._child = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
            async with asyncio.timeout(START_TIMEOUT_S):
                await _ask(self._child, orjson.dumps({"text": "true", "knows_item": False, "data": {}}))
        return self._child

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def _ask(child: Process, request: bytes) -> dict[str, Any]:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 -- both are pipes
    child.stdin.write(_LENGTH.pack(len(request)) + request)
    await child.stdin.drain()
    head = await child.stdout.readexactly(_LENGTH.size)
    return orjson.loads(await child.stdout.readexactly(_LENGTH.unpack(head)[0]))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end."""
    while head := requests.read(_LENGTH.size):
        body = orjson.dumps(_answer(orjson.loads(requests.read(_LENGTH.unpack(head)[0]))))
        answers.write(_LENGTH.pack(len(body)) + body)
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        expression = compile_expression(request["text"], knows_item=request["knows_item"])
        value = evaluate(expression, request["data"])
        check_size(value)
    except (ExpressionError, MemoryError, RecursionError) as error:
        return {"error": str(error) or "the evaluation needed more memory than it may use"}
    return {"value": value}


def limit_memory() -> None:
    """Let this process have no more than MEMORY_BYTES; on Windows there is no such limit."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    limit_memory()
    serve(sys.stdin.buffer, sys.stdout.buffer)
