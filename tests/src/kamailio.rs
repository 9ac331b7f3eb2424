//! Kamailio, from Debian, as a SIP server: registrar, presence agent and relay of MESSAGE.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::namespace::Place;
use crate::process::Process;
use crate::test_ca::Identity;
use crate::wait::{Deadline, until};

/// How long Kamailio may take to start, in seconds.
const START_S_MAX: u64 = 20;
/// The parts of Kamailio that the configuration uses.
const MODULES: [&str; 15] = [
    "tls",
    "tm",
    "sl",
    "rr",
    "maxfwd",
    "pv",
    "textops",
    "textopsx",
    "siputils",
    "usrloc",
    "registrar",
    "nathelper",
    "auth",
    "htable",
    "presence",
];

/// The digest algorithm that Kamailio asks for; it can ask for one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// MD5, the only one of old user agents.
    Md5,
    /// SHA-256 of RFC 7616.
    Sha256,
}

/// A Kamailio before its start.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The domain that it serves.
    pub domain: &'a str,
    /// Where it listens: port 5060 for TCP and 5061 for TLS.
    pub address: Ipv4Addr,
    /// Its users.
    pub accounts: &'a [Account<'a>],
    /// What it challenges them with.
    pub digest: Digest,
    /// Its certificate.
    pub identity: &'a Identity,
    /// Where requests for other domains go.
    pub gateway: Option<Gateway<'a>>,
}

/// What leads to other domains.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Where it is.
    pub address: SocketAddrV4,
    /// `tcp` or `tls`.
    pub transport: &'a str,
}

impl Setup<'_> {
    /// Starts the server.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self, place: &Place) -> Kamailio {
        let name = format!("kamailio-{}", self.address);
        let directory = place.make_directory(&name);
        place.write(&format!("{name}/kamailio.cfg"), &self.configuration());
        let process = launch(&directory, self.address);
        Kamailio { address: self.address, directory, process }
    }

    fn configuration(&self) -> String {
        let Self { domain, address, identity, .. } = self;
        let algorithm = match self.digest {
            Digest::Md5 => "MD5",
            Digest::Sha256 => "SHA-256",
        };
        let modules: String =
            MODULES.iter().map(|module| format!("loadmodule \"{module}.so\"\n")).collect();
        let accounts: String = self
            .accounts
            .iter()
            .map(|account| format!("  $sht(users=>{}) = \"{}\";\n", account.user, account.password))
            .collect();
        let (certificate, key) = (&identity.certificate, &identity.key);
        let gateway = self.gateway.map_or_else(
            || r#"sl_send_reply("404", "Not Found");"#.to_owned(),
            |Gateway { address, transport }| {
                format!("record_route(); $du = \"sip:{address};transport={transport}\"; t_relay();")
            },
        );
        format!(
            r#"#!KAMAILIO
debug=2
log_stderror=yes
children=1
tcp_children=2
disable_sctp=yes
auto_aliases=no
alias="{domain}"
listen=tcp:{address}:5060
listen=tls:{address}:5061
tcp_source_ipv4={address}
enable_tls=yes
tcp_connection_lifetime=3605
tcp_rd_buf_size=262144
{modules}
loadmodule "presence_xml.so"
modparam("tls", "certificate", {certificate:?})
modparam("tls", "private_key", {key:?})
modparam("tls", "tls_method", "TLSv1.2+")
modparam("usrloc", "db_mode", 0)
modparam("registrar|nathelper", "received_avp", "$avp(received)")
modparam("auth", "algorithm", "{algorithm}")
modparam("auth", "qop", "auth")
modparam("htable", "htable", "users=>size=4;")
modparam("presence", "publ_cache", 2)
modparam("presence", "subs_db_mode", 0)
modparam("presence", "server_address", "sip:{address}:5060;transport=tcp")
modparam("presence_xml", "force_active", 1)
event_route[htable:mod-init] {{
{accounts}}}
route[ABROAD] {{
  {gateway}
}}
"#
        ) + ROUTES
    }
}

/// What Kamailio does with each request.
const ROUTES: &str = r#"
request_route {
  if (!mf_process_maxfwd_header("70")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (is_method("ACK")) exit;
  if (is_method("OPTIONS") && uri==myself && $rU==$null) { sl_send_reply("200", "OK"); exit; }
  # linphonec subscribes with a GRUU of this domain as its Contact; the way back is its connection.
  if (is_method("SUBSCRIBE") && $ct=~";gr=" && from_uri==myself) {
    remove_hf("Contact");
    append_hf("Contact: <sip:$fU@$si:$sp;transport=$proto>\r\n");
    msg_apply_changes();
  }
  if (has_totag()) {
    if (is_method("SUBSCRIBE") && uri==myself) handle_subscribe();
    else if (loose_route()) {
      # RFC 6665 s.4.3: a NOTIFY that comes first begins the dialog.
      if (is_method("NOTIFY")) record_route();
      t_relay();
    }
    else sl_send_reply("481", "Dialog Does Not Exist");
    exit;
  }
  if (uri!=myself) { route(ABROAD); exit; }
  if (is_method("REGISTER")) {
    if (!is_present_hf("Authorization")
        || !pv_www_authenticate("$td", "$sht(users=>$au)", "0")) {
      www_challenge("$td", "1");
      exit;
    }
    fix_nated_register();
    save("location");
    exit;
  }
  if (is_method("PUBLISH")) { t_newtran(); handle_publish(); exit; }
  if (is_method("SUBSCRIBE")) { t_newtran(); handle_subscribe(); exit; }
  if ($sht(users=>$rU)==$null) { sl_send_reply("404", "Not Found"); exit; }
  if (!lookup("location")) { sl_send_reply("480", "Temporarily Unavailable"); exit; }
  t_relay();
}
"#;

/// A running Kamailio.
pub struct Kamailio {
    address: Ipv4Addr,
    directory: PathBuf,
    process: Process,
}

impl Kamailio {
    /// The process: its log, its end, its cost.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the server if it runs and starts it again; it remembers nothing.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process.kill_9();
        self.process = launch(&self.directory, self.address);
    }
}

fn launch(directory: &Path, address: Ipv4Addr) -> Process {
    let mut command = Command::new("/usr/sbin/kamailio");
    command.args(["-DD", "-E", "-m", "64", "-M", "8", "-f"]).arg(directory.join("kamailio.cfg"));
    // The directory for its sockets; without a file for the process id.
    command.arg("-Y").arg(directory).current_dir(directory);
    let process = Process::start("kamailio", directory, command);
    until("kamailio's ports", Deadline::after_s(START_S_MAX), || {
        TcpStream::connect((address, 5060)).map_err(|error| error.to_string())?;
        TcpStream::connect((address, 5061)).map_err(|error| error.to_string())
    });
    process
}
