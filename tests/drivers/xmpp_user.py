"""An XMPP user that a test drives by JSON lines: the protocol is in json_lines.py.

slixmpp connects, authenticates and binds; every stanza is built here and reported from here, and
slixmpp's own automatic answers to presence are off, so that the test decides.
"""

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass

import bulk
import json_lines
from json_lines import CommandFailed, now_ms
from slixmpp import ClientXMPP, Presence

CLIENT = "{jabber:client}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
DELAY = "{urn:xmpp:delay}delay"
STREAM_END_WAIT_S = 2
ET.register_namespace("", "jabber:client")


class Client(ClientXMPP):
    """slixmpp's client, which hands over every stanza as it came and answers no presence."""

    def __init__(self, jid: str, password: str, on_stanza) -> None:
        super().__init__(jid, password)
        self.on_stanza = on_stanza
        self.remove_handler("Presence")

    def incoming_filter(self, xml: ET.Element) -> ET.Element:
        """Sees an element before slixmpp fills in the language of the stream."""
        if xml.tag.startswith(CLIENT):
            self.on_stanza(xml)
        return xml


def without_namespace(tag: str) -> str:
    """The local name of an element."""
    return tag.rpartition("}")[2]


def as_json(stanza: ET.Element) -> dict:
    """What the test is shown of a stanza."""
    shown = {name: stanza.get(name) for name in ("from", "to", "type", "id")}
    shown["lang"] = stanza.get(LANG)
    for name in ("body", "subject", "thread", "show", "status", "priority"):
        shown[name] = stanza.findtext(CLIENT + name)
    # RFC 6121 s.5.2.3: bodies may repeat with different languages.
    shown["bodies"] = {element.get(LANG) or "": element.text or ""
                       for element in stanza.findall(CLIENT + "body")}
    delay = stanza.find(DELAY)
    shown["delay_stamp"] = None if delay is None else delay.get("stamp")
    error = stanza.find(CLIENT + "error")
    if error is not None:
        conditions = [without_namespace(child.tag) for child in error
                      if child.tag.startswith(STANZAS) and child.tag != STANZAS + "text"]
        shown["error"] = {"type": error.get("type"), "by": error.get("by"),
                          "condition": conditions[0] if conditions else None,
                          "text": error.findtext(STANZAS + "text")}
    shown["xml"] = ET.tostring(stanza, encoding="unicode")
    return shown


def element(name: str, text: str | None = None, lang: str | None = None) -> ET.Element:
    """An element of the client's namespace, which the stream's header declares."""
    made = ET.Element(name, {LANG: lang} if lang else {})
    made.text = text
    return made


def stanza(name: str, attributes: dict, children: list[ET.Element], extra: str = "") -> str:
    """A stanza as text; attributes without a value are left out, `extra` is XML as it is."""
    root = ET.Element(name, {key: value for key, value in attributes.items() if value is not None})
    root.extend(children)
    text = ET.tostring(root, encoding="unicode", short_empty_elements=False)
    # XML 1.0 s.2.11: a literal carriage return would reach the other side as a line feed.
    text = text.replace("\r", "&#13;")
    return text.removesuffix(f"</{name}>") + extra + f"</{name}>"


@dataclass
class Sent:
    """The log of one message of a run; the stream to the user's own server loses none."""

    number: int
    to: str
    sent_ms: list[int]


class Run:
    """A run of numbered messages and what bounced of it."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.task: asyncio.Task | None = None
        self.sent: list[Sent] = []
        self.bounced: list[tuple[int, int, str]] = []

    async def send_all(self, send, to: list[str], count: int, rate_per_s: float,
                       body_bytes: int) -> None:
        """Sends every message when it is due, to the recipients in turn."""
        async for number in bulk.paced(count, rate_per_s):
            recipient = to[number % len(to)]
            body = element("body", bulk.numbered_text(self.tag, number, body_bytes))
            attributes = {"to": recipient, "type": "chat", "id": f"{self.tag}-{number:06d}"}
            at_ms = now_ms()
            send(stanza("message", attributes, [body]))
            self.sent.append(Sent(number, recipient, [at_ms]))

    def entries(self) -> dict:
        """The log of every message, and the errors that came back."""
        return {"sent": [asdict(sent) for sent in self.sent], "bounced": self.bounced}

    def note_bounce(self, shown: dict) -> bool:
        """Notes an error that returns a message of the run; says whether it does."""
        tag, _, number = (shown["id"] or "").rpartition("-")
        if tag != self.tag or not number.isdigit() or "error" not in shown:
            return False
        self.bounced.append((int(number), now_ms(), str(shown["error"]["condition"])))
        return True


class XmppUser:
    """One client connection of one account at a time."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.established: asyncio.Future | None = None
        self.stream_error: str | None = None
        self.iq_count = 0
        self.iq_answers: dict[str, asyncio.Future] = {}
        self.run: Run | None = None
        self.expected: bulk.Seen | None = None

    def commands(self) -> dict:
        """What a test may ask for, by the name it uses."""
        return {
            "connect": self.connect, "close": self.close, "message": self.message,
            "presence": self.presence, "raw": self.raw, "iq": self.iq,
            "capabilities": self.capabilities,
            "bulk_expect": self.bulk_expect, "bulk_send": self.bulk_send,
            "bulk_report": self.bulk_report,
        }

    async def connect(self, jid: str, password: str, host: str, port: int = 5222) -> dict:
        """Connects without TLS, authenticates and binds; gives the full JID."""
        client = Client(jid, password, self._handle_stanza)
        self.client = client
        self.established = asyncio.get_running_loop().create_future()
        client.add_event_handler("session_start", lambda _: self._establish(None))
        client.add_event_handler("failed_all_auth", lambda _: self._establish("not authorized"))
        client.add_event_handler("connection_failed", self._establish)
        client.add_event_handler("stream_error", self._handle_stream_error)
        client.add_event_handler("disconnected", self._handle_end)
        client.connect((host, port), disable_starttls=True, force_starttls=False)
        await self.established
        # RFC 6121 s.2.2: only a resource that asked for the roster is told of subscriptions.
        await self.iq("get", "<query xmlns='jabber:iq:roster'/>")
        return {"jid": str(client.boundjid)}

    async def close(self) -> None:
        """Ends the stream and waits until the server has ended it too."""
        if self.client is not None:
            await self.client.disconnect(wait=STREAM_END_WAIT_S)

    async def message(self, to: str, body: str | None = None, kind: str | None = "chat",
                      stanza_id: str | None = None, subject: str | None = None,
                      thread: str | None = None, lang: str | None = None,
                      extra: str = "") -> None:
        """Sends a message; `extra` is XML that goes in as it is."""
        children = [element(name, text) for name, text in
                    (("subject", subject), ("thread", thread), ("body", body))
                    if text is not None]
        attributes = {"to": to, "type": kind, "id": stanza_id, LANG: lang}
        self._send(stanza("message", attributes, children, extra))

    async def presence(self, to: str | None = None, kind: str | None = None,
                       stanza_id: str | None = None, show: str | None = None,
                       status: str | None = None, priority: int | None = None,
                       extra: str = "") -> None:
        """Sends presence of any type, to everybody or to one."""
        texts = (("show", show), ("status", status),
                 ("priority", None if priority is None else str(priority)))
        children = [element(name, text) for name, text in texts if text is not None]
        attributes = {"to": to, "type": kind, "id": stanza_id}
        self._send(stanza("presence", attributes, children, extra))

    async def raw(self, xml: str) -> None:
        """Writes text to the stream as it is."""
        self._send(xml)

    async def iq(self, kind: str, payload: str, to: str | None = None) -> dict:
        """Sends a request and waits for its result or error."""
        self.iq_count += 1
        number = f"driver-{self.iq_count}"
        answered = asyncio.get_running_loop().create_future()
        self.iq_answers[number] = answered
        self._send(stanza("iq", {"to": to, "type": kind, "id": number}, [], payload))
        return await answered

    async def capabilities(self, presence: str) -> dict:
        """Has slixmpp's plugin for XEP-0115 ask who sent a presence stanza what it is, and verify
        the answer; gives what it is."""
        for name in ("xep_0030", "xep_0115"):
            if name not in self.client.plugin:
                self.client.register_plugin(name)
        stanza = Presence(self.client, xml=ET.fromstring(presence))
        # What its event for capabilities does, waited for.
        await self.client["xep_0115"]._process_caps(stanza)
        info = await self.client["xep_0115"].get_caps(jid=stanza["from"])
        if info is None:
            raise CommandFailed("no answer that has the hash of the presence stanza")
        identities = [[part or "" for part in identity] for identity in info["identities"]]
        return {"identities": identities, "features": sorted(info["features"])}

    async def bulk_expect(self, tag: str) -> None:
        """Counts messages of a bulk run from here on, instead of reporting each."""
        self.expected = bulk.Seen(tag)

    async def bulk_send(self, tag: str, to: list[str], count: int, rate_per_s: float,
                        body_bytes: int) -> None:
        """Starts sending numbered messages; `bulk_report` tells how far it is."""
        self.run = Run(tag)
        self.run.task = asyncio.create_task(
            self.run.send_all(self._send, to, count, rate_per_s, body_bytes))

    async def bulk_report(self, entries: bool = False) -> dict:
        """Counts so far; with `entries` the log of every message sent, received and bounced."""
        arrived = self.expected.entries if self.expected else []
        result = {"arrived_count": len(arrived)}
        if self.run is not None:
            result |= {"sent_count": len(self.run.sent), "settled_count": len(self.run.sent)}
        if entries:
            result |= {"arrived": arrived, "sent": [], "noticed": []}
            result |= self.run.entries() if self.run else {}
        return result

    def _send(self, text: str) -> None:
        if self.client is None or not self.client.is_connected():
            raise CommandFailed("not connected")
        self.client.send_raw(text)

    def _establish(self, failure) -> None:
        if self.established.done():
            return
        if failure is None:
            self.established.set_result(None)
        else:
            self.client.cancel_connection_attempt()
            self.established.set_exception(CommandFailed(str(failure)))

    def _handle_stream_error(self, error) -> None:
        self.stream_error = error["condition"]

    def _handle_end(self, why) -> None:
        self._establish(f"disconnected: {why}")
        for answered in self.iq_answers.values():
            answered.set_exception(CommandFailed("the stream ended before the answer"))
        self.iq_answers.clear()
        json_lines.report("disconnected", why=str(why), stream_error=self.stream_error)
        self.stream_error = None

    def _handle_stanza(self, xml: ET.Element) -> None:
        if not self.established.done():
            return
        shown = as_json(xml)
        kind = without_namespace(xml.tag)
        if kind == "iq" and shown["id"] in self.iq_answers:
            self.iq_answers.pop(shown["id"]).set_result(shown)
        elif kind == "message" and self._note_bulk(shown):
            return
        else:
            json_lines.report(kind, **shown)

    def _note_bulk(self, shown: dict) -> bool:
        if shown["type"] == "error":
            return self.run is not None and self.run.note_bounce(shown)
        return self.expected is not None and self.expected.note(shown["body"] or "")


if __name__ == "__main__":
    asyncio.run(json_lines.serve(XmppUser().commands()))
