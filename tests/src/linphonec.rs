//! linphonec, from Debian: texts, SHA-256 digest, TLS, the presence of friends.

use std::path::Path;
use std::process::Command;

use crate::account::Account;
use crate::namespace::Place;
use crate::process::{Mark, Process};
use crate::wait::{Deadline, until};

/// How long linphonec may take to start and register, in seconds.
const REGISTER_S_MAX: u64 = 20;

/// A linphonec before its start.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Its account.
    pub account: Account<'a>,
    /// The server's name, which its certificate must have and the resolver must know.
    pub server: &'a str,
    /// The server's port for TLS.
    pub port: u16,
    /// The authority that it trusts.
    pub ca: &'a Path,
    /// The one whose presence it subscribes to.
    pub friend: &'a str,
}

impl Setup<'_> {
    /// Starts linphonec and waits until it is registered; it publishes that it is online.
    ///
    /// # Panics
    ///
    /// When it cannot register.
    pub fn start(&self, place: &Place) -> Linphonec {
        let name = format!("linphonec-{}", self.account.user);
        let directory = place.make_directory(&name);
        // Without this folder it has no database, and a text would crash it.
        place.make_directory(&format!("{name}/.local/share/linphone"));
        let rc = place.write(&format!("{name}/linphonerc"), &self.configuration());
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(rc).args(["-d", "6", "-l"]).arg(directory.join("sip.log"));
        command.env("HOME", &directory);
        let mut process = Process::start(&name, &directory, command);
        let identity = format!("registered, identity={}", self.account.aor());
        until("linphonec's registration", Deadline::after_s(REGISTER_S_MAX), || {
            let mark = process.mark();
            process.send_line("status register");
            let answer = process.wait_for_line_after(mark, "registered", Deadline::after_s(5));
            if answer.contains(&identity) { Ok(()) } else { Err(answer) }
        });
        Linphonec { process }
    }

    fn configuration(&self) -> String {
        let Self { account: Account { user, domain, password }, server, port, ca, friend } = self;
        // Port -2: connections are opened from any port, and nothing listens.
        format!(
            "[sip]\nverify_server_certs=1\nverify_server_cn=1\nroot_ca={ca}\nsip_port=0\n\
             sip_tcp_port=-2\nsip_tls_port=-2\nregister_only_when_network_is_up=0\n\
             auto_net_state_mon=0\npublish_presence=1\nguess_hostname=0\nuse_ipv6=0\n\
             default_proxy=0\n\
             [auth_info_0]\nusername={user}\npasswd={password}\nrealm={domain}\ndomain={domain}\n\
             [proxy_0]\nreg_proxy=<sip:{server}:{port};transport=tls>\n\
             reg_route=<sip:{server}:{port};transport=tls;lr>\n\
             reg_identity=sip:{user}@{domain}\nreg_expires=600\nreg_sendregister=1\npublish=1\n\
             [friend_0]\nurl=<{friend}>\npol=accept\nsubscribe=1\n\
             [misc]\nstore_friends=0\n",
            ca = ca.display(),
        )
    }
}

/// A running linphonec.
pub struct Linphonec {
    process: Process,
}

impl Linphonec {
    /// Sends a text of one line.
    pub fn say(&mut self, to: &str, text: &str) {
        self.process.send_line(&format!("chat {to} {text}"));
    }

    /// Waits for a text from any device of an address-of-record, received after `mark`.
    ///
    /// # Panics
    ///
    /// When none comes, or it is from somebody else.
    pub fn expect_text(&mut self, mark: Mark, from: &str, text: &str, deadline: Deadline) {
        let line = self.process.wait_for_line_after(mark, &format!(": {text}"), deadline);
        let (start, _) = line.split_once(&format!(": {text}")).expect("the line was chosen by it");
        assert!(start.starts_with("Message received from") && start.contains(from), "{line}");
    }

    /// Waits until the friend is seen `Online`, `Offline` or `Away`, after `mark`.
    ///
    /// # Panics
    ///
    /// When that does not happen.
    pub fn expect_friend(&mut self, mark: Mark, friend: &str, status: &str, deadline: Deadline) {
        self.process.wait_for_line_after(mark, &format!("<{friend}> is {status}"), deadline);
    }

    /// The process: its log and its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
