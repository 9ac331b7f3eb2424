"""SIP messages on the wire, for the test user agent only: reading, writing, digest credentials.

It shares nothing with the engine under test, so that the two do not err alike.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field

COMPACT_NAMES = {
    "c": "content-type", "e": "content-encoding", "f": "from", "i": "call-id", "k": "supported",
    "l": "content-length", "m": "contact", "o": "event", "r": "refer-to", "s": "subject",
    "t": "to", "u": "allow-events", "v": "via",
}
DIGEST_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def canonical(name: str) -> str:
    """A header field name in lower case and in its long form."""
    name = name.strip().lower()
    return COMPACT_NAMES.get(name, name)


@dataclass
class Message:
    """A request or a response: start line, ordered header fields, body."""

    start_line: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def is_response(self) -> bool:
        return self.start_line.startswith("SIP/2.0 ")

    @property
    def status(self) -> int:
        return int(self.start_line.split(" ", 2)[1])

    @property
    def method(self) -> str:
        """The method of a request, or that of the request which a response answers."""
        if self.is_response:
            return self.first("CSeq").split()[1]
        return self.start_line.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        return self.start_line.split(" ", 2)[1]

    def all(self, name: str) -> list[str]:
        """Every value of a header field, one for each line."""
        wanted = canonical(name)
        return [value for key, value in self.fields if canonical(key) == wanted]

    def first(self, name: str) -> str:
        """The first value of a header field, or an empty text."""
        values = self.all(name)
        return values[0] if values else ""

    def put(self, name: str, value: str) -> None:
        """Replaces every line of a header field by one at the end."""
        wanted = canonical(name)
        self.fields = [pair for pair in self.fields if canonical(pair[0]) != wanted]
        self.fields.append((name, value))

    def to_bytes(self) -> bytes:
        """The message as it goes out; Content-Length is that of the body."""
        self.put("Content-Length", str(len(self.body)))
        lines = [self.start_line] + [f"{name}: {value}" for name, value in self.fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body

    def as_json(self) -> dict:
        """What the test is shown: everything, and a body that is not UTF-8 in hexadecimal."""
        shown = {"start_line": self.start_line, "headers": self.fields}
        try:
            shown["body"] = self.body.decode()
        except UnicodeDecodeError:
            shown["body_hex"] = self.body.hex()
        return shown


def parse_head(head: bytes) -> Message:
    """Reads a start line and header fields, without the empty line that ends them."""
    text = re.sub(r"\r\n[ \t]+", " ", head.decode(errors="replace"))
    start_line, *lines = text.split("\r\n")
    message = Message(start_line)
    for line in lines:
        name, _, value = line.partition(":")
        message.fields.append((name.strip(), value.strip()))
    return message


def uri_of(name_addr: str) -> str:
    """The URI of a From, To or Contact value, without what follows it."""
    inside = re.search(r"<([^>]*)>", name_addr)
    return inside.group(1) if inside else name_addr.split(";")[0].strip()


def tag_of(name_addr: str) -> str:
    """The tag of a From or To value, or an empty text."""
    found = re.search(r";\s*tag\s*=\s*([^;,\s]+)", name_addr.rpartition(">")[2] or name_addr)
    return found.group(1) if found else ""


def branch_of(via: str) -> str:
    """The branch of a Via value, or an empty text."""
    found = re.search(r";\s*branch\s*=\s*([^;,\s]+)", via)
    return found.group(1) if found else ""


def new_token() -> str:
    """A text for tags, branches and Call-IDs that nobody else makes."""
    return secrets.token_hex(8)


def challenge_parameters(value: str) -> dict:
    """The parameters of one WWW-Authenticate or Proxy-Authenticate value."""
    found = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', value)
    return {name.lower(): quoted or bare for name, quoted, bare in found}


def credentials(challenges: list[str], algorithms: list[str], username: str, password: str,
                method: str, uri: str) -> tuple[str, str]:
    """The Authorization value for the first challenge that the user can answer, and its algorithm.

    RFC 7616 s.3.7: the first challenge whose algorithm is supported is the one to answer.
    An empty text means that none is.
    """
    for value in challenges:
        given = challenge_parameters(value)
        algorithm = given.get("algorithm", "MD5").upper()
        offers_auth = "qop" not in given or "auth" in re.split(r"\s*,\s*", given["qop"])
        if algorithm in algorithms and offers_auth:
            return _answer(given, algorithm, username, password, method, uri), algorithm
    return "", ""


def _answer(given: dict, algorithm: str, username: str, password: str, method: str,
            uri: str) -> str:
    def digest(*parts: str) -> str:
        return DIGEST_HASHES[algorithm](":".join(parts).encode()).hexdigest()

    ha1 = digest(username, given["realm"], password)
    ha2 = digest(method, uri)
    quoted = {"username": username, "realm": given["realm"], "nonce": given["nonce"], "uri": uri}
    plain = {"algorithm": given["algorithm"]} if "algorithm" in given else {}
    if "qop" in given:
        plain |= {"qop": "auth", "nc": "00000001"}
        quoted["cnonce"] = new_token()
        quoted["response"] = digest(
            ha1, given["nonce"], plain["nc"], quoted["cnonce"], "auth", ha2)
    else:
        quoted["response"] = digest(ha1, given["nonce"], ha2)
    if "opaque" in given:
        quoted["opaque"] = given["opaque"]
    parts = [f'{name}="{text}"' for name, text in quoted.items()]
    parts += [f"{name}={text}" for name, text in plain.items()]
    return "Digest " + ", ".join(parts)
