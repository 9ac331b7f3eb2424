"""A SIP user that a test drives by JSON lines: the protocol is in json_lines.py.

It registers over TCP or TLS, keeps the flow, sends and answers MESSAGE, subscribes, publishes.
Every request received is an event; the final response to a request is the result of its command.
"""

import asyncio
from dataclasses import dataclass, field

import bulk
import json_lines
import sip_bulk
import sip_wire
from json_lines import CommandFailed
from sip_flow import Endpoint, Flow
from sip_wire import Message

# RFC 3261 s.17.1.2.2: Timer F, 64 times T1.
ANSWER_TIMEOUT_S = 32
# How long a server that has just come back may take to register somebody, and between two tries.
REGISTER_TIMEOUT_S = 5
REGISTER_PAUSE_S = 0.1
REASONS = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 415: "Unsupported Media Type",
    480: "Temporarily Unavailable", 481: "Subscription Does Not Exist", 486: "Busy Here",
    488: "Not Acceptable Here", 500: "Server Internal Error", 503: "Service Unavailable",
    600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere",
}


@dataclass
class Subscription:
    """The subscriber's half of a dialog."""

    call_id: str
    local: str
    remote: str
    target: str
    route: list[str] = field(default_factory=list)

    @property
    def local_tag(self) -> str:
        return sip_wire.tag_of(self.local)

    def confirm(self, message: Message, remote: str, route: list[str]) -> None:
        """Takes the other side's tag, Contact and route from its first message in the dialog."""
        if not sip_wire.tag_of(self.remote):
            self.remote, self.route = remote, route
        if message.first("Contact"):
            self.target = sip_wire.uri_of(message.first("Contact"))


@dataclass
class Outcome:
    """The final response, and the digest algorithm if there was a challenge on the way to it."""

    final: Message
    algorithm: str = ""

    def as_json(self) -> dict:
        """What the test is shown."""
        return {"status": self.final.status, "algorithm": self.algorithm, **self.final.as_json()}


@dataclass
class Answer:
    """What an incoming request of a method gets; without a status the test answers by command."""

    status: int | None = 200
    delay_ms: int = 0
    headers: list = field(default_factory=list)


class SipUser:
    """One user agent with one address-of-record."""

    def __init__(self) -> None:
        self.endpoint = Endpoint(self._handle_request)
        self.aor = ""
        self.user = ""
        self.domain = ""
        self.password = ""
        self.algorithms = ["SHA-256", "MD5"]
        self.register_call_id = sip_wire.new_token()
        self.register_tag = sip_wire.new_token()
        self.registering = asyncio.Lock()
        self.cseq = 0
        self.subscriptions: dict[str, Subscription] = {}
        self.entity_tag: str | None = None
        self.answers = {
            "MESSAGE": Answer(), "NOTIFY": Answer(), "OPTIONS": Answer(),
            "INVITE": Answer(status=488), "SUBSCRIBE": Answer(status=405),
        }
        self.unanswered: dict[int, tuple[Flow, Message]] = {}
        self.received_count = 0
        self.expected: bulk.Seen | None = None
        self.sender: sip_bulk.BulkSender | None = None
        self.tasks: set[asyncio.Task] = set()

    def commands(self) -> dict:
        """What a test may ask for, by the name it uses."""
        return {
            "identify": self.identify, "limit_algorithms": self.limit_algorithms,
            "connect": self.endpoint.connect, "reconnect": self.endpoint.reconnect,
            "close": self.endpoint.close, "listen": self.endpoint.listen,
            "register": self.register, "stay_registered": self.stay_registered,
            "message": self.message, "request": self.request, "raw": self.raw,
            "subscribe": self.subscribe, "resubscribe": self.resubscribe, "publish": self.publish,
            "answer": self.answer, "respond": self.respond, "bulk_expect": self.bulk_expect,
            "bulk_send": self.bulk_send, "bulk_report": self.bulk_report,
        }

    async def identify(self, user: str, domain: str, password: str) -> None:
        """Says who this user is."""
        self.user, self.domain, self.password = user, domain, password
        self.aor = f"sip:{user}@{domain}"

    async def limit_algorithms(self, algorithms: list[str]) -> None:
        """Says which digest algorithms this user can do."""
        self.algorithms = algorithms

    async def register(self, expires: int = 3600) -> dict:
        """Registers the Contact, or removes it with `expires` 0."""
        return (await self._register(expires, ANSWER_TIMEOUT_S)).as_json()

    async def stay_registered(self) -> None:
        """Connects and registers again from here on, whenever the flow is lost."""
        self._start(self._stay_registered())

    async def message(self, to: str, body_hex: str = "", content_type: str = "text/plain",
                      headers: list | None = None, call_id: str | None = None,
                      from_tag: str | None = None, cseq: int | None = None) -> dict:
        """Sends a MESSAGE."""
        fields = self._new_fields(to, call_id, from_tag)
        fields += [("Content-Type", content_type), *_pairs(headers)]
        body = bytes.fromhex(body_hex)
        return await self._send(Message(f"MESSAGE {to} SIP/2.0", fields, body), cseq)

    async def request(self, method: str, uri: str, headers: list | None = None,
                      body: str = "") -> dict:
        """Sends a request of any other kind outside a dialog."""
        fields = self._new_fields(uri, None, None) + _pairs(headers)
        return await self._send(Message(f"{method} {uri} SIP/2.0", fields, body.encode()))

    async def subscribe(self, to: str, expires: int) -> dict:
        """Subscribes to presence, or polls with `expires` 0; NOTIFYs carry its Call-ID."""
        fields = self._new_fields(to, None, None)
        given = dict(fields)
        subscription = Subscription(given["Call-ID"], given["From"], given["To"], to)
        # RFC 6665 s.4.1.2.4: a NOTIFY may arrive before the answer to its SUBSCRIBE.
        self.subscriptions[subscription.call_id] = subscription
        result = await self._subscribe(subscription, expires)
        if result["status"] >= 300:
            del self.subscriptions[subscription.call_id]
        return result

    async def resubscribe(self, call_id: str, expires: int) -> dict:
        """Refreshes a subscription in its dialog, or ends it with `expires` 0."""
        subscription = self.subscriptions.get(call_id)
        if subscription is None:
            raise CommandFailed(f"no subscription has the Call-ID {call_id}")
        return await self._subscribe(subscription, expires)

    async def publish(self, expires: int, body: str | None = None) -> dict:
        """Publishes the user's own presence, with the entity tag of the last answer.

        With a body: publishes or modifies. Without: refreshes, or removes with `expires` 0.
        """
        fields = self._new_fields(self.aor, None, None)
        fields += [("Event", "presence"), ("Expires", str(expires))]
        if self.entity_tag is not None:
            fields.append(("SIP-If-Match", self.entity_tag))
        if body is not None:
            fields.append(("Content-Type", "application/pidf+xml"))
        request = Message(f"PUBLISH {self.aor} SIP/2.0", fields, (body or "").encode())
        outcome = await self.exchange(request)
        if outcome.final.status == 200 and expires > 0:
            self.entity_tag = outcome.final.first("SIP-ETag")
        elif outcome.final.status in (200, 412):
            self.entity_tag = None
        return outcome.as_json()

    async def raw(self, data_hex: str) -> None:
        """Writes bytes to the flow as they are."""
        self.endpoint.current_flow().send(bytes.fromhex(data_hex))

    async def answer(self, method: str, status: int | None, delay_ms: int = 0) -> None:
        """Says what requests of a method get from here on."""
        self.answers[method] = Answer(status, delay_ms)

    async def respond(self, key: int, status: int, headers: list) -> None:
        """Answers one request that was left to the test."""
        if key not in self.unanswered:
            raise CommandFailed(f"no request {key} waits for an answer")
        flow, request = self.unanswered[key]
        self._respond(flow, request, Answer(status, headers=_pairs(headers)))
        if status >= 200:
            del self.unanswered[key]

    async def bulk_expect(self, tag: str) -> None:
        """Counts MESSAGEs of a bulk run from here on, instead of reporting each."""
        self.expected = bulk.Seen(tag)

    async def bulk_send(self, tag: str, to: list[str], count: int, rate_per_s: float,
                        body_bytes: int, answer_wait_s: float, give_up_s: float) -> None:
        """Starts sending numbered MESSAGEs; `bulk_report` tells how far it is."""
        self.sender = sip_bulk.BulkSender(self, tag, to, count, rate_per_s, body_bytes,
                                          answer_wait_s, give_up_s)
        self._start(self.sender.run())

    async def bulk_report(self, entries: bool = False) -> dict:
        """Counts so far; with `entries` the log of every message sent and received."""
        arrived = self.expected.entries if self.expected else []
        result = {"arrived_count": len(arrived)}
        if self.sender is not None:
            result |= self.sender.progress()
        if entries:
            result |= {"arrived": arrived, "sent": [], "noticed": []}
            result |= self.sender.entries() if self.sender else {}
        return result

    def contact(self) -> str:
        """The Contact value: the listening address if there is one, else the flow's own end."""
        flow = self.endpoint.current_flow()
        port = self.endpoint.listening_port or flow.local_port
        transport = "tcp" if self.endpoint.listening_port else flow.transport
        return f"<sip:{self.user}@{flow.local_address}:{port};transport={transport}>"

    async def exchange(self, request: Message, timeout_s: float = ANSWER_TIMEOUT_S,
                       cseq: int | None = None) -> Outcome:
        """Sends a request, answers a challenge once, and gives the final response."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        request.put("CSeq", f"{cseq} {request.method}")
        final = await self.endpoint.exchange(request, timeout_s)
        field_name, value, algorithm = self._authorization(request, final)
        if not value:
            return Outcome(final)
        # RFC 3261 s.22.2: the same request again, with credentials and the next CSeq.
        self.cseq = max(self.cseq, cseq) + 1
        request.put(field_name, value)
        request.put("CSeq", f"{self.cseq} {request.method}")
        return Outcome(await self.endpoint.exchange(request, timeout_s), algorithm)

    async def send_message(self, to: str, body: str, call_id: str, from_tag: str,
                           timeout_s: float) -> Message:
        """Sends one MESSAGE of a bulk run; the same arguments make the same request."""
        fields = self._new_fields(to, call_id, from_tag) + [("Content-Type", "text/plain")]
        request = Message(f"MESSAGE {to} SIP/2.0", fields, body.encode())
        return (await self.exchange(request, timeout_s, cseq=1)).final

    async def be_registered(self) -> None:
        """Connects and registers again if the flow was lost; tries once."""
        async with self.registering:
            if self.endpoint.flow is not None:
                return
            try:
                await self.endpoint.reconnect()
                status = (await self._register(3600, REGISTER_TIMEOUT_S)).final.status
                if status != 200:
                    raise CommandFailed(f"the server answered REGISTER with {status}")
            except (CommandFailed, OSError):
                await self.endpoint.close()
                await asyncio.sleep(REGISTER_PAUSE_S)
                raise

    async def _stay_registered(self) -> None:
        while True:
            await self.endpoint.lost.wait()
            try:
                await self.be_registered()
            except (CommandFailed, OSError):
                continue

    async def _register(self, expires: int, timeout_s: float) -> Outcome:
        fields = [
            ("From", f"<{self.aor}>;tag={self.register_tag}"), ("To", f"<{self.aor}>"),
            ("Call-ID", self.register_call_id), ("Contact", self.contact()),
            ("Expires", str(expires)),
        ]
        return await self.exchange(
            Message(f"REGISTER sip:{self.domain} SIP/2.0", fields), timeout_s)

    def _authorization(self, request: Message, final: Message) -> tuple[str, str, str]:
        """The credentials' header field, its value and its algorithm, where there is an answer."""
        names = {401: ("WWW-Authenticate", "Authorization"),
                 407: ("Proxy-Authenticate", "Proxy-Authorization")}
        if final.status not in names:
            return "", "", ""
        challenge_name, field_name = names[final.status]
        value, algorithm = sip_wire.credentials(
            final.all(challenge_name), self.algorithms, self.user, self.password,
            request.method, request.uri)
        return field_name, value, algorithm

    def _new_fields(self, to: str, call_id: str | None, from_tag: str | None) -> list:
        tag = from_tag or sip_wire.new_token()
        return [("From", f"<{self.aor}>;tag={tag}"), ("To", f"<{to}>"),
                ("Call-ID", call_id or sip_wire.new_token())]

    async def _subscribe(self, subscription: Subscription, expires: int) -> dict:
        fields = [
            ("From", subscription.local), ("To", subscription.remote),
            ("Call-ID", subscription.call_id), ("Contact", self.contact()),
            ("Event", "presence"), ("Accept", "application/pidf+xml"), ("Expires", str(expires)),
            *[("Route", value) for value in subscription.route],
        ]
        request = Message(f"SUBSCRIBE {subscription.target} SIP/2.0", fields)
        outcome = await self.exchange(request)
        if outcome.final.status < 300:
            subscription.confirm(outcome.final, outcome.final.first("To"),
                                 outcome.final.all("Record-Route")[::-1])
        return outcome.as_json() | {"call_id": subscription.call_id}

    def _handle_request(self, flow: Flow, request: Message) -> None:
        if request.method == "ACK":
            return
        answer = self.answers.get(request.method, Answer(status=501))
        if request.method == "NOTIFY" and not self._note_notify(request):
            # RFC 6665 s.4.1.3: a NOTIFY that matches no subscription.
            answer = Answer(status=481)
        self.received_count += 1
        if request.method != "MESSAGE" or not self._note_bulk(request):
            json_lines.report("request", key=self.received_count, **request.as_json())
        if answer.status is None:
            self.unanswered[self.received_count] = (flow, request)
        elif answer.delay_ms:
            self._start(self._respond_later(flow, request, answer))
        else:
            self._respond(flow, request, answer)

    def _note_bulk(self, message: Message) -> bool:
        text = message.body.decode(errors="replace")
        if self.expected is not None and self.expected.note(text):
            return True
        return self.sender is not None and self.sender.notices.note(text)

    def _note_notify(self, notify: Message) -> bool:
        subscription = self.subscriptions.get(notify.first("Call-ID"))
        if subscription is None or sip_wire.tag_of(notify.first("To")) != subscription.local_tag:
            return False
        subscription.confirm(notify, notify.first("From"), notify.all("Record-Route"))
        if notify.first("Subscription-State").lower().startswith("terminated"):
            del self.subscriptions[subscription.call_id]
        return True

    async def _respond_later(self, flow: Flow, request: Message, answer: Answer) -> None:
        await asyncio.sleep(answer.delay_ms / 1000)
        self._respond(flow, request, answer)

    def _respond(self, flow: Flow, request: Message, answer: Answer) -> None:
        reason = REASONS.get(answer.status, "Answered")
        response = Message(f"SIP/2.0 {answer.status} {reason}")
        for name in ("Via", "Record-Route", "From", "To", "Call-ID", "CSeq"):
            response.fields += [(name, value) for value in request.all(name)]
        if not sip_wire.tag_of(request.first("To")):
            response.put("To", f"{request.first('To')};tag={sip_wire.new_token()}")
        response.fields += answer.headers
        flow.send(response.to_bytes())

    async def _send(self, request: Message, cseq: int | None = None) -> dict:
        return (await self.exchange(request, cseq=cseq)).as_json()

    def _start(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _pairs(headers: list | None) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers or []]


if __name__ == "__main__":
    asyncio.run(json_lines.serve(SipUser().commands()))
