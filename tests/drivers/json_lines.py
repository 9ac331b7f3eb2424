"""The line protocol between a test and a driver: one JSON object a line on stdin and stdout.

A command is `{"n": 7, "do": "message", ...}`; its one answer is `{"done": 7, "result": {...}}` or
`{"failed": 7, "why": "..."}`. Whatever happens unasked is `{"event": "...", "at_ms": ...}`.
Times are milliseconds since the Unix epoch, so that the logs of several drivers can be compared.
"""

import asyncio
import json
import sys
import time

COMMAND_BYTES_MAX = 16 * 1024 * 1024


class CommandFailed(Exception):
    """The command was understood but could not be carried out; the test is told why."""


def now_ms() -> int:
    """The wall clock that every driver and the test share."""
    return time.time_ns() // 1_000_000


def report(event: str, **fields) -> None:
    """Tells the test that something happened."""
    _write({"event": event, "at_ms": now_ms(), **fields})


async def serve(commands: dict) -> None:
    """Carries out commands until stdin ends.

    Commands start in the order of their lines, and one that waits does not hold up the next.
    The command `catch_up` does nothing: its answer comes after every event before it.
    """
    commands = {"catch_up": _catch_up, **commands}
    reader = asyncio.StreamReader(limit=COMMAND_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(_carry_out(commands, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


async def _catch_up() -> None:
    pass


async def _carry_out(commands: dict, arguments: dict) -> None:
    number = arguments.pop("n")
    name = arguments.pop("do")
    try:
        result = await commands[name](**arguments)
    except (CommandFailed, OSError) as error:
        _write({"failed": number, "why": f"{name}: {error}"})
    except Exception as error:  # A fault of the driver or of its caller must reach the test.
        _write({"failed": number, "why": f"{name}: {error!r}"})
        raise
    else:
        _write({"done": number, "result": result or {}})


def _write(fields: dict) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
