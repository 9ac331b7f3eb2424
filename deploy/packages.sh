# Installs from Debian what a script needs and does not find; to be sourced.

# Says something in the name of the script.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

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

# Makes sure of these packages, or says what is missing and fails.
install_missing() {
  local missing
  if command -v apt-get > /dev/null; then
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
  else
    say "this is not Debian: install by hand what Debian 12 calls $*"
  fi
}

# Makes sure of docker and docker-compose, whoever packaged them.
require_docker() {
  command -v docker > /dev/null || install_missing docker.io
  command -v docker-compose > /dev/null || install_missing docker-compose
}

# Makes sure of these packages and of Rust, or says what is missing and fails.
require() {
  install_missing "$@"
  if ! command -v cargo > /dev/null; then
    say "cargo is not found: install Rust with rustup first"
    exit 1
  fi
}
