-- The server of the partner fabrikam.example in compose.yaml. prepare.sh fills in @...@.
pidfile = "/run/isthmus/prosody.pid"
data_path = "/var/lib/isthmus"
certificates = "/etc/isthmus"
plugin_paths = {}
modules_enabled = {
  "smacks", "dialback", "disco", "iq", "message", "offline", "ping", "presence", "roster", "s2s",
  "s2s_auth_certs", "saslauth", "tls", "posix",
}
modules_disabled = { "limits" }
authentication = "internal_plain"
storage = "internal"
log = { { levels = { min = "info" }, to = "console" } }
unbound = { resolvconf = false, hoststxt = false, forward = { "@DNS_ADDRESS@" } }
-- A container that is gone refuses no connection: the next edge is to be tried soon.
network_settings = { connect_timeout = 5 }
-- Clients are in the same network.
c2s_interfaces = { "*" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_interfaces = { "*" }
s2s_require_encryption = true
s2s_secure_auth = true
ssl = {
  key = "/etc/isthmus/xmpp.key", certificate = "/etc/isthmus/xmpp.pem",
  cafile = "/etc/isthmus/ca.pem",
}
VirtualHost "fabrikam.example"
