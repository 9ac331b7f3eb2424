"""A run of numbered MESSAGEs that goes on through faults of the server."""

import asyncio
import time
from dataclasses import asdict, dataclass, field

import bulk
import sip_wire
from json_lines import CommandFailed, now_ms


@dataclass
class Sent:
    """The log of one message: each time it left, and its final response."""

    number: int
    to: str
    sent_ms: list[int] = field(default_factory=list)
    answered_ms: int | None = None
    status: int | None = None


class BulkSender:
    """Sends a run: one message in flight in each conversation, the conversations side by side.

    A message without an answer is sent again with the same Call-ID, CSeq and From tag and a new
    branch, so that the server can tell that it is the same, until `give_up_s` has passed. Where the
    flow was lost, the user connects and registers again first.
    """

    def __init__(self, user, tag: str, to: list[str], count: int, rate_per_s: float,
                 body_bytes: int, answer_wait_s: float, give_up_s: float) -> None:
        self.user = user
        self.tag = tag
        self.to = to
        self.count = count
        self.rate_per_s = rate_per_s
        self.body_bytes = body_bytes
        self.answer_wait_s = answer_wait_s
        self.give_up_s = give_up_s
        self.log: list[Sent] = []
        self.notices = bulk.Seen(tag, quoted=True)
        self.settled_count = 0

    async def run(self) -> None:
        """Sends every message when it is due and its conversation is free."""
        queues = [asyncio.Queue() for _ in self.to]
        conversations = [asyncio.create_task(self._converse(to, queue))
                         for to, queue in zip(self.to, queues)]
        async for number in bulk.paced(self.count, self.rate_per_s):
            queues[number % len(queues)].put_nowait(number)
        for queue in queues:
            queue.put_nowait(None)
        await asyncio.gather(*conversations)

    def progress(self) -> dict:
        """How many were sent at least once, and how many need nothing more."""
        return {"sent_count": len(self.log), "settled_count": self.settled_count}

    def entries(self) -> dict:
        """The log of every message, and the notices that came back."""
        return {"sent": [asdict(sent) for sent in self.log], "noticed": self.notices.entries}

    async def _converse(self, to: str, queue: asyncio.Queue) -> None:
        while (number := await queue.get()) is not None:
            sent = Sent(number, to)
            self.log.append(sent)
            await self._send_until_answered(sent)
            self.settled_count += 1

    async def _send_until_answered(self, sent: Sent) -> None:
        body = bulk.numbered_text(self.tag, sent.number, self.body_bytes)
        call_id, from_tag = sip_wire.new_token(), sip_wire.new_token()
        give_up_at = time.monotonic() + self.give_up_s
        while time.monotonic() < give_up_at:
            try:
                await self.user.be_registered()
                sent.sent_ms.append(now_ms())
                final = await self.user.send_message(
                    sent.to, body, call_id, from_tag, self.answer_wait_s)
            except (CommandFailed, OSError):
                continue
            sent.answered_ms, sent.status = now_ms(), final.status
            return
