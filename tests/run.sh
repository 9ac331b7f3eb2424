#!/usr/bin/env bash
# Runs every test of the workspace, after installing from Debian what they need and do not find.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

# The servers and user agents that the tests talk to, and the tools that isolate and drive them.
# Rust needs a linker, and some crates a C compiler.
require prosody lua-unbound ejabberd jabberd2 \
  kamailio kamailio-presence-modules kamailio-tls-modules \
  sip-tester baresip-core linphone-cli \
  python3 python3-slixmpp \
  dnsmasq-base iproute2 iptables openssl procps sslscan \
  dpkg-dev systemd \
  gcc libc6-dev
# For the containers; base-image.sh and images.sh make what they run on.
require_docker
require binutils debootstrap
# Xz is Debian's, and nothing else in it has to be fast.
cargo deb --version > /dev/null 2>&1 ||
  cargo install --quiet --locked --debug --no-default-features cargo-deb@3.8.0
# The host on which packages are installed.
deploy/base-image.sh isthmus/systemd:bookworm systemd
# What the integration tests start is what is deployed.
cargo build --release --workspace --bins
cargo test --workspace
