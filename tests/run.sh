#!/usr/bin/env bash
# Runs every test of the workspace, after installing from Debian what they need and do not find.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The servers and user agents that the tests talk to, and the tools that isolate and drive them.
packages=(
  prosody lua-unbound
  kamailio kamailio-presence-modules kamailio-tls-modules
  sip-tester baresip-core linphone-cli
  python3 python3-slixmpp
  dnsmasq-base iproute2 iptables openssl procps
  # Rust needs a linker, and some crates a C compiler.
  gcc libc6-dev
)

say() { printf 'tests/run.sh: %s\n' "$*" >&2; }

missing_packages() {
  # dpkg-query fails when it does not know a package, which is then missing.
  local installed
  installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    sed -n 's/^installed //p') || true
  comm -23 <(printf '%s\n' "$@" | sort) <(printf '%s\n' "$installed" | sort)
}

# In a subshell, so that its trap is gone with it.
install_packages() (
  if [ "$(id -u)" -ne 0 ]; then
    say "these packages are missing, and only root can install them: $*"
    say "as root: apt-get install --no-install-recommends $*"
    exit 1
  fi
  say "installing: $*"
  # Debian starts a server as it installs it, but the tests start their own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@"
)

if command -v apt-get > /dev/null; then
  mapfile -t missing < <(missing_packages "${packages[@]}")
  [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
else
  say "this is not Debian: install by hand what Debian 12 calls ${packages[*]}"
fi
if ! command -v cargo > /dev/null; then
  say "cargo is not found: install Rust with rustup first"
  exit 1
fi
cargo test --workspace
