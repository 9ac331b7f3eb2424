"""Numbered messages for load and fault runs: their texts, their pace, what was seen of them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

from json_lines import now_ms


def numbered_text(tag: str, number: int, body_bytes: int) -> str:
    """The text of message `number` of the run `tag`, filled up to `body_bytes`."""
    return f"{tag} {number:06d} ".ljust(body_bytes, ".")


async def paced(count: int, rate_per_s: float) -> AsyncIterator[int]:
    """Gives the numbers 0 to `count` - 1, each when it is due, without drifting."""
    start = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number / rate_per_s - time.monotonic()))
        yield number


class Seen:
    """The messages of a run that arrived, or, when `quoted`, the notices that quote one."""

    def __init__(self, tag: str, quoted: bool = False) -> None:
        self.entries: list[tuple[int, int]] = []
        number = re.compile(re.escape(tag) + r" (\d{6}) ")
        self._find = number.search if quoted else number.match

    def note(self, text: str) -> bool:
        """Notes the number in a text and the time; says whether there is one."""
        found = self._find(text)
        if found is None:
            return False
        self.entries.append((int(found.group(1)), now_ms()))
        return True
