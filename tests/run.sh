#!/usr/bin/env bash
# Runs every test of the workspace, after installing from Debian what they need and do not find.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

# The servers and user agents that the tests talk to, and the tools that isolate and drive them.
# Rust needs a linker, and some crates a C compiler.
require prosody lua-unbound \
  kamailio kamailio-presence-modules kamailio-tls-modules \
  sip-tester baresip-core linphone-cli \
  python3 python3-slixmpp \
  dnsmasq-base iproute2 iptables openssl procps \
  gcc libc6-dev
# What the integration tests start is what is deployed.
cargo build --release --workspace --bins
cargo test --workspace
