//! baresip, from Debian: short texts, online and offline, MD5 only, with an address on a veth.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use crate::account::Account;
use crate::namespace::Place;
use crate::process::{Mark, Process};
use crate::wait::{Deadline, until};

/// How long baresip may take to register, and to publish, in seconds.
const ANSWER_S_MAX: u64 = 20;

/// A baresip before its start.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Its account.
    pub account: Account<'a>,
    /// The server, which it reaches over TCP.
    pub server: SocketAddrV4,
    /// Its own address: of an interface that is not the loopback.
    pub address: Ipv4Addr,
    /// The one to whom it writes, and whose presence it subscribes to.
    pub contact: &'a str,
}

impl Setup<'_> {
    /// Starts baresip and waits until it is registered and has published that it is online.
    ///
    /// # Panics
    ///
    /// When it cannot register or publish.
    pub fn start(&self, place: &Place) -> Baresip {
        let Self { account, server, address, contact } = self;
        let name = format!("baresip-{}", account.user);
        let directory = place.make_directory(&name);
        let Account { user, domain, password } = account;
        let config = format!(
            "module_path /usr/lib/baresip/modules\nmodule stdio.so\nmodule_app account.so\n\
             module_app contact.so\nmodule_app menu.so\n\
             sip_listen {address}:0\nnet_interface {address}\n"
        );
        let accounts = format!(
            "<sip:{user}@{domain};transport=tcp>;auth_user={user};auth_pass={password};\
             outbound=\"sip:{server};transport=tcp\";regint=600;pubint=600\n"
        );
        place.write(&format!("{name}/config"), &config);
        place.write(&format!("{name}/accounts"), &accounts);
        place.write(&format!("{name}/contacts"), &format!("<{contact}>;presence=p2p\n"));
        // baresip takes commands from a terminal only, which `script` gives it.
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--command"]);
        command.arg(format!("exec baresip -4 -v -s -f '{}'", directory.display()));
        command.arg("/dev/null").env("TERM", "dumb");
        let mut process = Process::start(&name, &directory, command);
        process.wait_for_line("useragent registered successfully", Deadline::after_s(ANSWER_S_MAX));
        let mut baresip = Baresip { process, contact: (*contact).to_owned(), is_online: false };
        // Loaded at the start, the module publishes before and after the registration without
        // waiting for the entity tag between, and so leaves a second document behind.
        baresip.expect_publication("/insmod presence");
        baresip.set_online(true);
        baresip
    }
}

/// A running baresip.
pub struct Baresip {
    process: Process,
    contact: String,
    is_online: bool,
}

impl Baresip {
    /// Sends a text of one line to the contact.
    pub fn say(&mut self, text: &str) {
        self.process.send_line(&format!("/message {text}"));
    }

    /// Waits for a text of one line from any device of an address-of-record, received after
    /// `mark`.
    ///
    /// # Panics
    ///
    /// When none comes, or it is from somebody else.
    pub fn expect_text(&mut self, mark: Mark, from: &str, text: &str, deadline: Deadline) {
        let line = self.process.wait_for_line_after(mark, &format!(": \"{text}\""), deadline);
        assert!(line.contains(from), "{line}");
    }

    /// Publishes that the user is online, or offline, unless that is published already.
    ///
    /// # Panics
    ///
    /// When the server does not take it.
    pub fn set_online(&mut self, is_online: bool) {
        if self.is_online != is_online {
            self.is_online = is_online;
            let command = if is_online { "/presence_online" } else { "/presence_offline" };
            self.expect_publication(command);
        }
    }

    /// Waits until the contact is shown as `Online`, `Offline` or `Unknown`.
    ///
    /// # Panics
    ///
    /// When that does not happen.
    pub fn expect_contact(&mut self, status: &str, deadline: Deadline) {
        until(&format!("{} {status}", self.contact), deadline, || {
            let mark = self.process.mark();
            self.process.send_line("/contacts");
            let listed = format!("<{}>", self.contact);
            let line = self.process.wait_for_line_after(mark, &listed, deadline);
            if line.contains(status) { Ok(()) } else { Err(line) }
        });
    }

    /// The process: its log, with every SIP message, and its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
    fn expect_publication(&mut self, command: &str) {
        let mark = self.process.mark();
        self.process.send_line(command);
        self.process.wait_for_line_after(mark, "SIP-ETag:", Deadline::after_s(ANSWER_S_MAX));
    }
}
