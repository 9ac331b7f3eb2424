#!/usr/bin/python3
"""Says something in the name of the user of this container: `say TEXT`, and shows what came of it."""

import json
import socket
import sys

if len(sys.argv) < 2:
    sys.exit("usage: say TEXT")
with socket.socket(socket.AF_UNIX) as user, user.makefile("rw", encoding="utf-8") as lines:
    # Where user.py listens.
    user.connect("/run/isthmus/user.socket")
    lines.write(json.dumps(" ".join(sys.argv[1:])) + "\n")
    lines.flush()
    print(json.loads(lines.readline()))
