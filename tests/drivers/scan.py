"""Finds the TCP ports that answer: `scan.py [--ports A,B] ADDRESS...` prints what it found as JSON.

`open` has each open port as `[address, port]`. Every port of each address is tried as routes have
it. The given ports are tried by way of each interface too, without routes: a host may take what is
for any of its addresses by any interface (RFC 1122 s.3.3.4.2). `neighbours` has the addresses that
some host answered for on a network that this one is in, whatever became of the connections.
"""

import errno
import json
import resource
import select
import socket
import sys
import time

PORT_MAX = 65535
# How long the connections that are opened at a time may take.
CONNECT_TIMEOUT_S = 2
# Descriptors for everything but connections.
OTHER_DESCRIPTORS = 64


def begin(address: str, port: int, interface: str) -> socket.socket | None:
    """Begins to connect; None when the system refuses at once."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if interface:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
    if opened.connect_ex((address, port)) in (0, errno.EINPROGRESS):
        return opened
    opened.close()
    return None


def is_answered(opened: socket.socket) -> bool:
    """Whether somebody accepted; a port of this host that connects to itself is nobody."""
    if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
        return False
    try:
        return opened.getpeername() != opened.getsockname()
    except OSError:
        return False


def open_ones(attempts: list) -> set:
    """The addresses and ports of those attempts that end in a connection."""
    found, waiting = set(), {}
    poller = select.epoll()
    for attempt in attempts:
        if (opened := begin(*attempt)) is not None:
            waiting[opened.fileno()] = (opened, attempt)
            poller.register(opened, select.EPOLLOUT)
    end = time.monotonic() + CONNECT_TIMEOUT_S
    while waiting and (left := end - time.monotonic()) > 0:
        for number, _ in poller.poll(left):
            opened, attempt = waiting.pop(number)
            if is_answered(opened):
                found.add(attempt[:2])
            poller.unregister(number)
            opened.close()
    for opened, _ in waiting.values():
        opened.close()
    poller.close()
    return found


def neighbours() -> list:
    """The addresses whose hosts are known on some interface, by proc(5)."""
    with open("/proc/net/arp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    is_complete = 2
    return [row[0] for row in rows if int(row[2], 16) & is_complete]


def main() -> None:
    arguments = sys.argv[1:]
    ports = []
    if arguments[:1] == ["--ports"]:
        ports = [int(port) for port in arguments[1].split(",")]
        del arguments[:2]
    interfaces = [name for _, name in socket.if_nameindex()]
    at_a_time = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_DESCRIPTORS
    found = set()
    for address in arguments:
        attempts = [(address, port, "") for port in range(1, PORT_MAX + 1)]
        attempts += [(address, port, name) for port in ports for name in interfaces]
        for start in range(0, len(attempts), at_a_time):
            found |= open_ones(attempts[start:start + at_a_time])
    known = [address for address in neighbours() if address in arguments]
    print(json.dumps({"open": sorted(found), "neighbours": known}))


if __name__ == "__main__":
    main()
