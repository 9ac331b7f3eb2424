"""A user of compose.yaml who stays online: the log shows what arrives, and say.py sends.

    user.py xmpp JID PASSWORD HOST CONTACT
    user.py sip USER@DOMAIN PASSWORD HOST CONTACT

When it cannot go on it ends, and the container is started again.
"""

import asyncio
import json
import sys

import json_lines
from json_lines import CommandFailed
from sip_user import SipUser
from xmpp_user import XmppUser

SOCKET = "/run/isthmus/user.socket"
# How often the SIP user registers anew.
REGISTER_INTERVAL_S = 30


class Xmpp:
    """An account at an XMPP server."""

    def __init__(self, contact: str) -> None:
        self.user = XmppUser()
        self.contact = contact

    async def go_online(self, address: str, password: str, host: str) -> None:
        """Connects and shows that the user is there."""
        await self.user.connect(address, password, host)
        await self.user.presence()

    async def say(self, text: str) -> str:
        """Sends a text; an error would come back as a message."""
        await self.user.message(self.contact, text)
        return f"sent to {self.contact}"

    async def wait_for_end(self) -> None:
        """Returns when the connection is lost."""
        await self.user.client.disconnected


class Sip:
    """A device of a user of the home."""

    def __init__(self, contact: str) -> None:
        self.user = SipUser()
        self.contact = f"sip:{contact}"

    async def go_online(self, address: str, password: str, host: str) -> None:
        """Connects and registers."""
        await self.user.identify(*address.split("@"), password)
        await self.user.endpoint.connect(host, 5060)
        await self._register()

    async def say(self, text: str) -> str:
        """Sends a text and gives the first line of the answer."""
        result = await self.user.message(self.contact, text.encode().hex())
        return result["start_line"]

    async def wait_for_end(self) -> None:
        """Stays registered, by another connection when one is lost."""
        await self.user.stay_registered()
        while True:
            await asyncio.sleep(REGISTER_INTERVAL_S)
            try:
                await self._register()
            except (CommandFailed, OSError) as error:
                print(f"not registered: {error}", flush=True)

    async def _register(self) -> None:
        result = await self.user.register(10 * REGISTER_INTERVAL_S)
        if result["status"] != 200:
            raise CommandFailed(result["start_line"])


async def stay(user, address: str, password: str, host: str) -> None:
    """Goes online, and says what say.py hands over at the socket."""
    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await user.say(json.loads(await reader.readline()))
        except Exception as error:  # Whoever asked is to know why.
            answer = f"failed: {error!r}"
        writer.write((json.dumps(answer) + "\n").encode())
        writer.close()

    await user.go_online(address, password, host)
    await asyncio.start_unix_server(obey, SOCKET)
    await user.wait_for_end()


def show(event: str, **fields) -> None:
    """Writes an event to the log, for people."""
    match event:
        case "message":
            print(f"from {fields['from']}: {fields['body'] or fields.get('error')}", flush=True)
        case "request" if fields["start_line"].startswith("MESSAGE"):
            sender = dict(fields["headers"])["From"]
            print(f"from {sender}: {fields['body']}", flush=True)
        case _:
            print(event, flush=True)


def main() -> None:
    match sys.argv[1:]:
        case [("xmpp" | "sip") as kind, address, password, host, contact]:
            json_lines.report = show
            user = Xmpp if kind == "xmpp" else Sip
            asyncio.run(stay(user(contact), address, password, host))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
