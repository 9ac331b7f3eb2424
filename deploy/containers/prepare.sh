#!/bin/sh
# Makes what the services of compose.yaml find in /etc/isthmus: certificates, once, and their
# configuration. Each service has a volume of its own, and no key of another one.
set -eu
umask 077
sources=/usr/local/lib/isthmus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# authority NAME
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 \
    -subj "/CN=$1" -addext 'keyUsage = critical, keyCertSign, cRLSign' \
    -keyout "$work/$1.key" -out "$work/$1.pem" 2> /dev/null
}

# issue AUTHORITY DIRECTORY/NAME USAGES SUBJECT-ALTERNATIVE-NAMES
issue() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=${2##*/}" \
    -keyout "$2.key" -out "$work/request.pem" 2> /dev/null
  printf '%s\n' 'basicConstraints = critical, CA:false' 'keyUsage = critical, digitalSignature' \
    "extendedKeyUsage = $3" "subjectAltName = $4" > "$work/extensions"
  openssl x509 -req -in "$work/request.pem" -days 3650 -CA "$work/$1.pem" -CAkey "$work/$1.key" \
    -extfile "$work/extensions" -out "$2.pem" 2> /dev/null
}

if [ ! -e /files/partner/prepared ]; then
  authority ca
  authority link-ca
  issue ca /files/edge/xmpp serverAuth DNS:contoso.example
  issue ca /files/frontend/home serverAuth DNS:sip.contoso.example
  issue ca /files/partner/xmpp serverAuth DNS:fabrikam.example
  issue link-ca /files/edge/link serverAuth,clientAuth URI:spiffe://isthmus/edge/edge
  issue link-ca /files/frontend/link serverAuth,clientAuth URI:spiffe://isthmus/frontend/frontend
  cp "$work/ca.pem" "$work/link-ca.pem" /files/edge/
  cp "$work/link-ca.pem" /files/frontend/
  cp "$work/ca.pem" /files/partner/
  accounts=/var/lib/isthmus/fabrikam%2eexample/accounts
  mkdir -p "$accounts"
  printf 'return { ["password"] = "juliet-secret"; };\n' > "$accounts/juliet.dat"
  touch /files/partner/prepared
fi

# configure DIRECTORY FILE...
configure() {
  directory=$1
  shift
  for file in "$@"; do
    sed -e "s/@DNS_ADDRESS@/$DNS_ADDRESS/" -e "s/@INNER_ADDRESS@/$INNER_ADDRESS/" \
      "$sources/$file" > "$directory/$file"
  done
}
configure /files/edge edge-proxy.toml
configure /files/frontend frontend-gateway.toml policy.toml
configure /files/partner prosody.cfg.lua
