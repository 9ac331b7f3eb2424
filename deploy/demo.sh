#!/usr/bin/env bash
# Shows an XMPP user and a SIP user talking through both processes; `--once` ends after the story.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

require prosody lua-unbound python3 python3-slixmpp dnsmasq-base iproute2 gcc libc6-dev
say "building"
cargo build --release --workspace --bins --quiet

# A network, process and mount namespace of its own: no port, file or server of this machine is
# touched, and whatever the demonstration started ends with it.
namespaces=(--net --mount --pid --fork --kill-child --mount-proc)
[ "$(id -u)" -eq 0 ] || namespaces+=(--user --map-root-user)
ISTHMUS_TEST_PLACE=$(mktemp --directory --tmpdir isthmus-demo-XXXXXXXX)
export ISTHMUS_TEST_PLACE
trap 'rm -rf "$ISTHMUS_TEST_PLACE"' EXIT
unshare "${namespaces[@]}" -- "${CARGO_TARGET_DIR:-target}/release/demo" "$@"
