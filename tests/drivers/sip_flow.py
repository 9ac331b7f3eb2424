"""Connections of the test user agent, and the requests that wait for an answer on them."""

import asyncio
import socket
import ssl

import json_lines
import sip_wire
from json_lines import CommandFailed
from sip_wire import Message

HEAD_BYTES_MAX = 256 * 1024
CONNECT_TIMEOUT_S = 5


def tls_context(ca: str | None) -> ssl.SSLContext:
    """A client's TLS settings; without a CA file no server certificate is checked."""
    context = ssl.create_default_context(cafile=ca)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Flow:
    """One TCP or TLS connection, whoever opened it."""

    def __init__(self, transport: str, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.transport = transport
        self.reader = reader
        self.writer = writer
        self.local_address, self.local_port = writer.get_extra_info("sockname")[:2]
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def via(self, branch: str) -> str:
        """The Via value of a request that leaves by this flow."""
        protocol = f"SIP/2.0/{self.transport.upper()}"
        return f"{protocol} {self.local_address}:{self.local_port};branch={branch};rport"

    def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise CommandFailed("the connection is closed")
        self.writer.write(data)

    async def next_message(self) -> Message | None:
        """The next message, or None for a keep-alive; EOFError when the connection ends."""
        line = await self.reader.readline()
        if line == b"\r\n":
            return None
        if not line:
            raise EOFError
        head = await self.reader.readuntil(b"\r\n\r\n")
        message = sip_wire.parse_head(line + head[:-4])
        message.body = await self.reader.readexactly(int(message.first("Content-Length") or 0))
        return message

    def close(self) -> None:
        self.writer.close()


class Endpoint:
    """Sends requests on the current flow, pairs responses with them, hands requests upward."""

    def __init__(self, on_request) -> None:
        self.flow: Flow | None = None
        self.lost = asyncio.Event()
        self.listening_port: int | None = None
        self._on_request = on_request
        self._connect_arguments: dict = {}
        self._awaited: dict[str, asyncio.Future] = {}
        self._readers: set[asyncio.Task] = set()
        self._server: asyncio.Server | None = None

    async def connect(self, host: str, port: int, transport: str = "tcp",
                      server_name: str | None = None, ca: str | None = None) -> None:
        """Opens a flow, which becomes the one that requests leave by."""
        self._connect_arguments = {"host": host, "port": port, "transport": transport,
                                   "server_name": server_name, "ca": ca}
        secured = transport == "tls"
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                host, port, limit=HEAD_BYTES_MAX, ssl=tls_context(ca) if secured else None,
                server_hostname=server_name if secured else None),
            CONNECT_TIMEOUT_S)
        self.flow = self._watch(Flow(transport, reader, writer))
        self.lost.clear()
        json_lines.report("connected", local_port=self.flow.local_port)

    async def close(self) -> None:
        """Closes the current flow, if there is one; the other side sees the connection end."""
        if self.flow is not None:
            self._lose(self.flow, EOFError("closed by the user"))

    async def reconnect(self) -> None:
        """Opens a flow to where the last one went."""
        await self.connect(**self._connect_arguments)

    async def listen(self, address: str, port: int) -> None:
        """Accepts connections over TCP, as a Contact that others may dial."""
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._watch(Flow("tcp", reader, writer))

        self._server = await asyncio.start_server(accepted, address, port, limit=HEAD_BYTES_MAX)
        self.listening_port = self._server.sockets[0].getsockname()[1]

    def current_flow(self) -> Flow:
        if self.flow is None or self.flow.writer.is_closing():
            raise CommandFailed("not connected")
        return self.flow

    async def exchange(self, request: Message, timeout_s: float) -> Message:
        """Sends a request with a branch of its own and waits for the final response."""
        flow = self.current_flow()
        branch = "z9hG4bK" + sip_wire.new_token()
        head = [("Via", flow.via(branch)), ("Max-Forwards", "70")]
        outgoing = Message(request.start_line, head + request.fields, request.body)
        answered = asyncio.get_running_loop().create_future()
        self._awaited[branch] = answered
        try:
            flow.send(outgoing.to_bytes())
            return await asyncio.wait_for(answered, timeout_s)
        except asyncio.TimeoutError:
            raise CommandFailed(f"no final response in {timeout_s} s") from None
        finally:
            del self._awaited[branch]

    def _watch(self, flow: Flow) -> Flow:
        task = asyncio.create_task(self._read(flow))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        return flow

    async def _read(self, flow: Flow) -> None:
        try:
            while True:
                message = await flow.next_message()
                if message is None:
                    json_lines.report("pong")
                elif message.is_response:
                    self._handle_response(message)
                else:
                    self._on_request(flow, message)
        except Exception as error:  # Whatever ends the reading must reach the test.
            self._lose(flow, error)

    def _handle_response(self, response: Message) -> None:
        waiting = self._awaited.get(sip_wire.branch_of(response.first("Via")))
        if waiting is None:
            json_lines.report("stray_response", **response.as_json())
        elif response.status < 200:
            json_lines.report("provisional", **response.as_json())
        elif not waiting.done():
            waiting.set_result(response)

    def _lose(self, flow: Flow, error: Exception) -> None:
        flow.close()
        if flow is not self.flow:
            return
        self.flow = None
        self.lost.set()
        for waiting in self._awaited.values():
            if not waiting.done():
                waiting.set_exception(CommandFailed("the connection ended before the answer"))
        json_lines.report("disconnected", why=repr(error))
