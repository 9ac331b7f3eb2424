//! The name server of a test: dnsmasq, which knows the records given here and nothing else.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace::{NAME_SERVER, Place};
use crate::process::{Mark, Process};
use crate::wait::Deadline;

/// The records of a test's zones; every other name does not exist.
#[derive(Clone, Debug, Default)]
pub struct Records {
    lines: String,
}

impl Records {
    /// No records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address record; a name may have several.
    pub fn address(mut self, name: &str, address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        writeln!(self.lines, "host-record={name},{address}").expect("a text takes every line");
        self
    }

    /// Adds a service record, with a weight of 0.
    pub fn service(mut self, service: &str, target: &str, port: u16, priority: u16) -> Self {
        writeln!(self.lines, "srv-host={service},{target},{port},{priority},0")
            .expect("a text takes every line");
        self
    }

    /// Adds what the administrator of an XMPP server publishes that is reached by direct TLS alone.
    pub fn direct_tls_server(self, domain: &str, address: Ipv4Addr) -> Self {
        let host = format!("xmpp.{domain}");
        self.service(&format!("_xmpps-server._tcp.{domain}"), &host, 5270, 10)
            .address(&host, address)
    }

    /// Adds what an XMPP server's administrator publishes: a service record and an address.
    pub fn xmpp_server(self, domain: &str, address: Ipv4Addr) -> Self {
        let host = format!("xmpp.{domain}");
        self.service(&format!("_xmpp-server._tcp.{domain}"), &host, 5269, 10)
            .address(&host, address)
    }
}

/// A running name server at [`NAME_SERVER`] port 53.
pub struct Dns {
    directory: PathBuf,
    also_at: Vec<Ipv4Addr>,
    fence_count: u32,
    process: Process,
}

impl Dns {
    /// Starts the name server.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(place: &Place, records: &Records) -> Self {
        Self::start_at(place, records, &[])
    }

    /// Starts the name server at further addresses, for hosts of another network.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_at(place: &Place, records: &Records, also_at: &[Ipv4Addr]) -> Self {
        let (directory, also_at) = (place.directory().to_owned(), also_at.to_vec());
        let process = launch(&directory, records, &also_at);
        Self { directory, also_at, fence_count: 0, process }
    }

    /// Replaces all records, by a restart.
    ///
    /// # Panics
    ///
    /// When the server does not start again.
    pub fn replace(&mut self, records: &Records) {
        self.process.kill_9();
        self.process = launch(&self.directory, records, &self.also_at);
    }

    /// The end of the list of questions that were answered so far.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn mark(&mut self) -> Mark {
        self.catch_up();
        self.process.mark()
    }

    /// The questions after `mark` about `name` or a name below it, as dnsmasq logs them.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn questions_about(&mut self, mark: Mark, name: &str) -> Vec<String> {
        self.catch_up();
        let mut questions = self.process.lines_with(mark, "query[");
        questions.retain(|line| {
            let asked = line.split("query[").nth(1).and_then(|rest| rest.split(' ').nth(1));
            asked.is_some_and(|asked| asked == name || asked.ends_with(&format!(".{name}")))
        });
        questions
    }

    /// Waits for the log, which lags behind the answers: one more question shows where it is.
    fn catch_up(&mut self) {
        self.fence_count += 1;
        let fence = format!("fence-{}.invalid", self.fence_count);
        let found = (fence.as_str(), 53).to_socket_addrs();
        assert!(found.is_err(), "names without a record do not exist");
        self.process.wait_for_line(&fence, Deadline::after_s(10));
    }
}

fn launch(directory: &Path, records: &Records, also_at: &[Ipv4Addr]) -> Process {
    let mut command = Command::new("/usr/sbin/dnsmasq");
    let listen = also_at.iter().chain([&NAME_SERVER]);
    let records_file = directory.join("dns.conf");
    fs::write(&records_file, &records.lines).expect("the test's directory can be written");
    command
        // Stays in the foreground, as whatever user the test is, and logs to standard error.
        .args(["--no-daemon", "--log-queries", "--no-resolv", "--no-hosts", "--bind-interfaces"])
        // No name is looked up elsewhere, and names without a record do not exist.
        .args(["--local=/#/", "--port=53", "--cache-size=0"])
        .arg(format!("--conf-file={}", records_file.display()))
        .args(listen.map(|address| format!("--listen-address={address}")));
    let mut process = Process::start("dns", directory, command);
    process.wait_for_line("started, version", Deadline::after_s(10));
    process
}
