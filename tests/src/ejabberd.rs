//! ejabberd, from Debian, as the XMPP server of a partner.

use std::env::consts::ARCH;
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace::Place;
use crate::process::Process;
use crate::test_ca::{Identity, Leaf, TestCa};
use crate::wait::Deadline;

/// How long ejabberd may take to start, in seconds.
const START_S_MAX: u64 = 60;

/// What the virtual machine prints once the accounts are there.
const READY: &str = "every account is there";

/// How a domain of the server speaks TLS with other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Always, and the test authority issued its certificate.
    Certified,
    /// Always, with a self-signed certificate: it must prove itself by dialback.
    SelfSigned,
    /// Never.
    Off,
}

/// An ejabberd before its start.
pub struct Setup {
    name: String,
    address: Ipv4Addr,
    hosts: Vec<(String, Tls)>,
    users: Vec<(String, String)>,
}

impl Setup {
    /// A server at `address`: clients connect to port 5222, servers to ports 5269 and, with TLS
    /// from the first byte, 5270. `name` names its directory.
    pub fn new(name: &str, address: Ipv4Addr) -> Self {
        Self { name: name.to_owned(), address, hosts: Vec::new(), users: Vec::new() }
    }

    /// Adds a domain; the server takes EXTERNAL, and dialback, from servers that connect to it.
    pub fn host(mut self, domain: &str, tls: Tls) -> Self {
        self.hosts.push((domain.to_owned(), tls));
        self
    }

    /// Adds an account, which every domain of the server has.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Starts the server; `ca` issues its certificate, and is the only authority that it trusts.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self, place: &Place, ca: &TestCa) -> Ejabberd {
        let directory = place.make_directory(&self.name);
        let certified = ca.issue(&self.leaf(|tls| tls == Tls::Certified), &self.name);
        let self_signed =
            self.leaf(|tls| tls == Tls::SelfSigned).self_signed(&directory, "self-signed");
        let text = self.configuration(&[certified, self_signed], ca.certificate());
        fs::write(directory.join("ejabberd.yml"), text)
            .expect("the test's directory can be written");
        let mut process = Process::start(&self.name, &directory, self.command(&directory));
        process.wait_for_line(READY, Deadline::after_s(START_S_MAX));
        Ejabberd { process, log: directory.join("ejabberd.log") }
    }

    /// What a certificate says of the domains that have one of its kind.
    fn leaf(&self, is_of: impl Fn(Tls) -> bool) -> Leaf {
        let hosts = self.hosts.iter().filter(|(_, tls)| is_of(*tls));
        hosts.fold(Leaf::requested(), |leaf, (host, _)| leaf.dns(host))
    }

    /// The virtual machine, as `ejabberdctl foreground` starts it, but as whatever user the test
    /// is, and without a node name, so that no port mapper is needed.
    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new("/usr/bin/erl");
        command.current_dir(directory);
        command.env("EJABBERD_CONFIG_PATH", directory.join("ejabberd.yml"));
        command.env("EJABBERD_LOG_PATH", directory.join("ejabberd.log"));
        command.env("ERL_CRASH_DUMP", directory.join("crash.dump"));
        command.env("ERL_LIBS", format!("/usr/lib/{ARCH}-linux-gnu"));
        command.env("HOME", directory);
        // One scheduler: nothing is measured, and other tests run beside it.
        command.args(["-noinput", "+S", "1", "-mnesia", "dir"]);
        command.arg(format!("{:?}", directory.join("spool")));
        command.args(["-s", "ejabberd", "-eval", &self.registration()]);
        command
    }

    /// Erlang that adds the accounts.
    fn registration(&self) -> String {
        let mut text = String::new();
        for (host, _) in &self.hosts {
            for (name, password) in &self.users {
                let terms = format!("<<{name:?}>>, <<{host:?}>>, <<{password:?}>>");
                write!(text, "ok = ejabberd_auth:try_register({terms}), ")
                    .expect("a text takes every line");
            }
        }
        format!("{text}io:format(\"{READY}~n\").")
    }

    fn configuration(&self, identities: &[Identity], trusted: &Path) -> String {
        let files = identities.iter().flat_map(|it| [&it.certificate, &it.key]);
        let files: Vec<&PathBuf> = files.collect();
        let Self { address, .. } = self;
        let hosts: Vec<&String> = self.hosts.iter().map(|(host, _)| host).collect();
        let tls = |(host, tls): &(String, Tls)| {
            let starttls = if *tls == Tls::Off { "false" } else { "required" };
            format!("  {host:?}:\n    s2s_use_starttls: {starttls}\n")
        };
        // What it does not say of the streams is ejabberd's own default.
        format!(
            r#"
hosts: {hosts:?}
loglevel: debug
certfiles: {files:?}
ca_file: {trusted:?}
auth_method: [internal]
auth_password_format: plain
listen:
  - {{ port: 5222, ip: "{address}", module: ejabberd_c2s }}
  - {{ port: 5269, ip: "{address}", module: ejabberd_s2s_in }}
  - {{ port: 5270, ip: "{address}", module: ejabberd_s2s_in, tls: true }}
modules:
  mod_roster: {{}}
  mod_s2s_dialback: {{}}
host_config:
{}"#,
            self.hosts.iter().map(tls).collect::<String>()
        )
    }
}

/// A running ejabberd.
pub struct Ejabberd {
    process: Process,
    log: PathBuf,
}

impl Ejabberd {
    /// The process: its end, its cost.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The lines of its log so far that hold `text`.
    ///
    /// # Panics
    ///
    /// When the log cannot be read.
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        let log = fs::read(&self.log).expect("ejabberd writes a log");
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}
