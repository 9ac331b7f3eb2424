#!/usr/bin/env bash
# Makes a Debian image for docker from the machine's own apt sources, where no registry is reached.
#
#   deploy/base-image.sh [--force] [TAG [PACKAGE...]]
#
# Without arguments it makes isthmus/base:bookworm: a minimal Debian with ca-certificates. TAG is
# that with the PACKAGEs besides. An image that is there already is kept, unless --force is given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

base=isthmus/base:bookworm
force=
if [ "${1:-}" = --force ]; then
  force=yes
  shift
fi
tag=${1:-$base}
[ "$#" -eq 0 ] || shift
packages=("$@")

if [ -z "$force" ] && docker image inspect "$tag" > /dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  say "only root can make a Debian of its own"
  exit 1
fi
install_missing debootstrap

# Programs that are built on this machine run on its own release.
release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
# Each as: address, suite, component.
mapfile -t sources < <(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' \
  'Created-By: Packages' 'Origin: Debian' | sort --unique)
mirror=
for source in "${sources[@]}"; do
  read -r address suite component <<< "$source"
  [ "$suite $component" != "$release main" ] || mirror=$address
done
if [ -z "$mirror" ]; then
  say "apt has no source of Debian '$release', component main; is 'apt-get update' done?"
  exit 1
fi

place=$(mktemp --directory --tmpdir isthmus-base-XXXXXXXX)
container=
finish() {
  [ -z "$container" ] || docker rm "$container" > /dev/null
  rm -rf "$place"
}
trap finish EXIT
root=$place/root

# Runs something, and shows the end of its output only when it fails.
quietly() {
  "$@" > "$place/log" 2>&1 || {
    tail -n 20 "$place/log" >&2
    say "failed: $*"
    exit 1
  }
}

say "making $tag from $mirror $release; this takes some minutes"
mkdir "$root"
if [ "${#packages[@]}" -eq 0 ]; then
  quietly debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$mirror"
else
  "$PWD/deploy/base-image.sh"
  container=$(docker create "$base" true)
  docker export "$container" | tar --extract --directory "$root"
fi

# This machine's settings of apt say how packages are reached, and may hold what is secret: they
# are gone when the image is made.
printf 'deb %s\n' "${sources[@]}" > "$root/etc/apt/sources.list"
mv "$root/etc/apt/apt.conf.d" "$place/apt.conf.d"
cp --recursive /etc/apt/apt.conf.d "$root/etc/apt/apt.conf.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# No package starts a server while it is installed.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
quietly chroot "$root" apt-get update -qq
quietly chroot "$root" apt-get upgrade -y -qq
[ "${#packages[@]}" -eq 0 ] ||
  quietly chroot "$root" apt-get install -y -qq --no-install-recommends "${packages[@]}"
rm -rf "$root/etc/apt/apt.conf.d" "$root"/usr/sbin/policy-rc.d "$root"/var/lib/apt/lists/* \
  "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/* \
  "$root"/usr/share/{doc,man,locale}/*
mv "$place/apt.conf.d" "$root/etc/apt/apt.conf.d"
# docker gives each container its own.
: > "$root/etc/resolv.conf"
: > "$root/etc/hostname"
tar --create --directory "$root" . | docker import - "$tag" > /dev/null
say "$tag is made"
