//! Prosody, from Debian, as the XMPP server of a partner.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace::Place;
use crate::process::Process;
use crate::test_ca::{Identity, Leaf, TestCa};
use crate::wait::Deadline;

/// How long Prosody may take to start, in seconds.
const START_S_MAX: u64 = 20;

/// A module that ends every message before any other module sees it.
const SWALLOW: &str = "module:hook('message/bare', function() return true; end, 1000);\n";

/// How the certificates of Prosody and of the other side stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// The test authority issued Prosody's certificate, and Prosody trusts it and nobody else:
    /// EXTERNAL in both directions.
    Certified,
    /// Prosody's certificate is self-signed: Prosody must prove itself by dialback.
    SelfSigned,
    /// Each side's authority is unknown to the other, and Prosody takes dialback instead:
    /// dialback in both directions.
    Unrelated,
}

/// A Prosody before its start.
pub struct Setup {
    domain: String,
    address: Ipv4Addr,
    situation: Situation,
    has_stream_management: bool,
    requires_certificates: bool,
    has_direct_tls: bool,
    has_bidi: bool,
    requires_tls: bool,
    swallows_messages: bool,
    log_level: &'static str,
    virtual_hosts: Vec<(String, Vec<&'static str>)>,
    users: Vec<(String, String)>,
}

impl Setup {
    /// A server of `domain` at `address`: clients connect to port 5222, servers to port 5269.
    pub fn new(domain: &str, address: Ipv4Addr, situation: Situation) -> Self {
        Self {
            domain: domain.to_owned(),
            address,
            situation,
            has_stream_management: true,
            requires_certificates: situation != Situation::Unrelated,
            has_direct_tls: false,
            has_bidi: false,
            requires_tls: true,
            swallows_messages: false,
            log_level: "debug",
            virtual_hosts: Vec::new(),
            users: Vec::new(),
        }
    }

    /// Adds an account, which every domain of the server has.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Leaves out XEP-0198.
    pub fn without_stream_management(mut self) -> Self {
        self.has_stream_management = false;
        self
    }

    /// Takes dialback from servers whose certificates do not verify.
    pub fn allowing_dialback(mut self) -> Self {
        self.requires_certificates = false;
        self
    }

    /// Lets servers begin with TLS on port 5270 (XEP-0368).
    pub fn with_direct_tls(mut self) -> Self {
        self.has_direct_tls = true;
        self
    }

    /// Lets one stream carry both directions (XEP-0288).
    pub fn with_bidi(mut self) -> Self {
        self.has_bidi = true;
        self
    }

    /// Talks to servers that do not do TLS.
    pub fn without_required_tls(mut self) -> Self {
        self.requires_tls = false;
        self
    }

    /// Adds a domain for which some of the server's modules are off.
    pub fn virtual_host(mut self, domain: &str, without: &[&'static str]) -> Self {
        self.virtual_hosts.push((domain.to_owned(), without.to_vec()));
        self
    }

    /// Takes messages to its users, whether they exist or not, and does nothing with them.
    pub fn swallowing_messages(mut self) -> Self {
        self.swallows_messages = true;
        self
    }

    /// Logs no stanzas, for runs under load.
    pub fn quiet(mut self) -> Self {
        self.log_level = "info";
        self
    }

    /// Starts the server; `ca` is the authority that the other side trusts.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self, place: &Place, ca: &TestCa) -> Prosody {
        let directory = place.make_directory(&self.domain);
        let own = Leaf::server(&self.domain);
        let leaf = self.virtual_hosts.iter().fold(own, |leaf, (host, _)| leaf.dns(host));
        let (identity, trusted) = match self.situation {
            Situation::Certified => (ca.issue(&leaf, &self.domain), ca.certificate().to_owned()),
            Situation::SelfSigned => {
                (leaf.self_signed(&directory, "self-signed"), ca.certificate().to_owned())
            }
            Situation::Unrelated => {
                let own = TestCa::new(&directory, "own-ca");
                (own.issue(&leaf, "certificate"), own.certificate().to_owned())
            }
        };
        let hosts = self.virtual_hosts.iter().map(|(host, _)| host);
        for host in hosts.chain([&self.domain]) {
            for (name, password) in &self.users {
                write_account(&directory, host, name, password);
            }
        }
        if self.swallows_messages {
            fs::write(directory.join("mod_swallow.lua"), SWALLOW)
                .expect("the test's directory can be written");
        }
        let configuration = directory.join("prosody.cfg.lua");
        let text = self.configuration(&directory, &identity, &trusted);
        fs::write(&configuration, text).expect("the test's directory can be written");
        let mut process = launch(&self.domain, &directory);
        if self.has_direct_tls {
            let deadline = Deadline::after_s(START_S_MAX);
            process.wait_for_line("Activated service 's2s_direct_tls' on [", deadline);
        }
        Prosody { domain: self.domain.clone(), directory, process }
    }

    fn virtual_host_sections(&self) -> String {
        let section = |(host, without): &(String, Vec<&str>)| {
            let off: String = without.iter().map(|module| format!("{module:?}, ")).collect();
            format!("VirtualHost {host:?}\n  modules_disabled = {{ \"limits\", {off} }}\n")
        };
        self.virtual_hosts.iter().map(section).collect()
    }

    fn configuration(&self, directory: &Path, identity: &Identity, trusted: &Path) -> String {
        let Self { domain, address, requires_certificates, requires_tls, log_level, .. } = self;
        let stream_management = if self.has_stream_management { r#""smacks","# } else { "" };
        let bidi = if self.has_bidi { r#""s2s_bidi","# } else { "" };
        let swallow = if self.swallows_messages { r#""swallow","# } else { "" };
        let direct_tls = if self.has_direct_tls { "5270" } else { "" };
        let (data, certificate) = (directory.join("data"), &identity.certificate);
        let key = &identity.key;
        // The limits of bytes per second are off, since they would pace the runs under load.
        format!(
            r#"
run_as_root = true
pidfile = {pidfile:?}
data_path = {data:?}
certificates = {directory:?}
plugin_paths = {{ {directory:?} }}
modules_enabled = {{
  {stream_management} {bidi} {swallow}
  "dialback", "disco", "iq", "message", "offline", "ping", "presence", "roster", "s2s",
  "s2s_auth_certs", "saslauth", "tls", "posix",
}}
modules_disabled = {{ "limits" }}
authentication = "internal_plain"
storage = "internal"
log = {{ {{ levels = {{ min = "{log_level}" }}, to = "console" }} }}
c2s_interfaces = {{ "{address}" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_interfaces = {{ "{address}" }}
s2s_direct_tls_interfaces = {{ "{address}" }}
s2s_direct_tls_ports = {{ {direct_tls} }}
s2s_require_encryption = {requires_tls}
s2s_secure_auth = {requires_certificates}
ssl = {{ key = {key:?}, certificate = {certificate:?}, cafile = {trusted:?} }}
VirtualHost "{domain}"
{virtual_hosts}
"#,
            pidfile = directory.join("prosody.pid"),
            virtual_hosts = self.virtual_host_sections(),
        )
    }
}

/// A running Prosody.
pub struct Prosody {
    domain: String,
    directory: PathBuf,
    process: Process,
}

impl Prosody {
    /// The process: its log, its end, its cost.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts the server again, after its end or not, with the same accounts and settings.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process.kill_9();
        self.process = launch(&self.domain, &self.directory);
    }
}

fn launch(domain: &str, directory: &Path) -> Process {
    let mut command = Command::new("/usr/bin/prosody");
    command.arg("--no-daemonize").arg("--config").arg(directory.join("prosody.cfg.lua"));
    command.current_dir(directory);
    let mut process = Process::start(domain, directory, command);
    let deadline = Deadline::after_s(START_S_MAX);
    process.wait_for_line("Activated service 'c2s' on [", deadline);
    process.wait_for_line("Activated service 's2s' on [", deadline);
    process
}

/// Writes an account as Prosody's internal storage keeps it, which it reads at each login.
fn write_account(directory: &Path, domain: &str, name: &str, password: &str) {
    let accounts = directory.join("data").join(storage_name(domain)).join("accounts");
    fs::create_dir_all(&accounts).expect("the test's directory can be written");
    let account = accounts.join(format!("{}.dat", storage_name(name)));
    fs::write(account, format!("return {{ [\"password\"] = {password:?}; }};\n"))
        .expect("the test's directory can be written");
}

/// The name under which Prosody stores something: everything but letters and digits in hexadecimal.
fn storage_name(name: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    name.bytes().map(encode).collect()
}
