#!/usr/bin/env bash
# Builds the images of compose.yaml without a registry: over a Debian that it makes itself, with the
# programs that this machine builds.
#
# ISTHMUS_PROGRAMS names a directory with programs that are built already; ISTHMUS_TAG is the tag of
# the images, `local` unless given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

require_docker
if ! docker version > /dev/null; then
  say "the docker engine does not answer: start it"
  exit 1
fi
export ISTHMUS_TARGET=prebuilt
export ISTHMUS_BASE=isthmus/base:bookworm
export ISTHMUS_PEERS_BASE=isthmus/peers-base:bookworm
deploy/base-image.sh "$ISTHMUS_BASE"
deploy/base-image.sh "$ISTHMUS_PEERS_BASE" \
  prosody lua-unbound python3 python3-slixmpp dnsmasq-base openssl

require binutils gcc libc6-dev
programs=${ISTHMUS_PROGRAMS:-}
if [ -z "$programs" ]; then
  say "building"
  cargo build --release --quiet -p edge-proxy -p frontend-gateway
  programs=${CARGO_TARGET_DIR:-target}/release
fi
mkdir -p target/image
for program in edge-proxy frontend-gateway; do
  strip --strip-debug -o "target/image/$program" "$programs/$program"
done
docker-compose --file deploy/compose.yaml build
# What these images replace has no name any more.
docker image prune --force --filter label=isthmus=compose > /dev/null
