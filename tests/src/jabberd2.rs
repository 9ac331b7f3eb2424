//! jabberd2, from Debian, as the XMPP server of a partner: four programs that find each other at
//! one of them.

use std::env::consts::ARCH;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use crate::namespace::Place;
use crate::process::Process;
use crate::test_ca::{Leaf, TestCa};
use crate::wait::Deadline;

/// How long each program may take to start, in seconds.
const START_S_MAX: u64 = 20;

/// The programs in the order of their start, with what each prints when it is ready.
const PROGRAMS: [(&str, &str); 4] = [
    ("router", "listening for incoming connections"),
    ("sm", "sm ready for sessions"),
    ("c2s", "listening for connections"),
    ("s2s", "listening for connections"),
];

/// The chains of modules that the session manager needs for sessions, presence and messages;
/// `offline` is also what gives sessions the messages to a bare JID.
const CHAINS: [(&str, &[&str]); 7] = [
    ("in-sess", &["validate", "roster", "presence", "deliver"]),
    ("in-router", &["session", "validate", "presence"]),
    ("pkt-sm", &["disco", "presence"]),
    ("pkt-user", &["roster", "presence", "deliver", "offline"]),
    ("pkt-router", &["session"]),
    ("user-load", &["active", "roster"]),
    ("user-create", &["active"]),
];

/// A jabberd2 before its start.
pub struct Setup {
    name: String,
    address: Ipv4Addr,
    has_tls: bool,
    hosts: Vec<String>,
    users: Vec<(String, String)>,
}

impl Setup {
    /// A server at `address`: clients connect to port 5222, servers to port 5269. `name` names its
    /// directory.
    pub fn new(name: &str, address: Ipv4Addr) -> Self {
        let name = name.to_owned();
        Self { name, address, has_tls: true, hosts: Vec::new(), users: Vec::new() }
    }

    /// Adds a domain.
    pub fn host(mut self, domain: &str) -> Self {
        self.hosts.push(domain.to_owned());
        self
    }

    /// Adds an account, which every domain of the server has.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Neither offers STARTTLS nor uses it.
    pub fn without_tls(mut self) -> Self {
        self.has_tls = false;
        self
    }

    /// Starts the server; `ca` issues its certificate.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self, place: &Place, ca: &TestCa) -> Jabberd2 {
        let directory = place.make_directory(&self.name);
        place.make_directory(&format!("{}/storage", self.name));
        self.write_accounts(&directory.join("accounts.sqlite"));
        let write = |file: &str, text: &str| {
            fs::write(directory.join(file), text).expect("the test's directory can be written");
        };
        let user = "<user><name>jabberd</name><secret>secret</secret></user>";
        write("users.xml", &format!("<users>{user}</users>"));
        write("filter.xml", "<filter/>");
        write("router.xml", &self.router(&directory));
        write("sm.xml", &self.session_manager(&directory));
        write("c2s.xml", &self.clients(&directory));
        write("s2s.xml", &self.servers(&directory, ca));
        let launch = |(program, ready): (&str, &str)| {
            let mut command = Command::new(format!("/usr/sbin/jabberd2-{program}"));
            command.arg("-c").arg(directory.join(format!("{program}.xml")));
            let mut process =
                Process::start(&format!("{}-{program}", self.name), &directory, command);
            process.wait_for_line(ready, Deadline::after_s(START_S_MAX));
            process
        };
        Jabberd2 { programs: PROGRAMS.map(launch) }
    }

    /// Writes the accounts as jabberd2's module for SQLite keeps them.
    fn write_accounts(&self, file: &PathBuf) {
        let accounts = Connection::open(file).expect("the test's directory can be written");
        let table = "CREATE TABLE authreg (username TEXT, realm TEXT, password TEXT)";
        accounts.execute(table, ()).expect("the file is new");
        for host in &self.hosts {
            for (name, password) in &self.users {
                let row = "INSERT INTO authreg VALUES (?1, ?2, ?3)";
                accounts.execute(row, (name, host, password)).expect("the table is there");
            }
        }
    }

    fn router(&self, directory: &Path) -> String {
        format!(
            "<router><id>router</id><log type='stdout'/>\
             <local><ip>{}</ip><port>5347</port><users>{}</users><secret>secret</secret></local>\
             <io><max_fds>1024</max_fds></io>\
             <aci><acl type='all'><user>jabberd</user></acl><filter>{}</filter></aci></router>",
            self.address,
            directory.join("users.xml").display(),
            directory.join("filter.xml").display(),
        )
    }

    /// What every program but the router begins with.
    fn head(&self, id: &str) -> String {
        format!(
            "<id>{id}</id><log type='stdout'/><router><ip>{}</ip><port>5347</port>\
             <user>jabberd</user><pass>secret</pass></router>",
            self.address
        )
    }

    fn host_ids(&self) -> String {
        self.hosts.iter().map(|host| format!("<id>{host}</id>")).collect()
    }

    fn session_manager(&self, directory: &Path) -> String {
        let chain = |(id, modules): &(&str, &[&str])| {
            let modules = modules.iter().map(|module| format!("<module>{module}</module>"));
            format!("<chain id='{id}'>{}</chain>", modules.collect::<String>())
        };
        let path = modules();
        format!(
            "<sm>{}<local>{}</local><storage><path>{path}</path><driver>fs</driver>\
             <fs><path>{}</path></fs></storage><modules><path>{path}</path>{}</modules>\
             <user><auto-create/></user></sm>",
            self.head("sm"),
            self.host_ids(),
            directory.join("storage").display(),
            CHAINS.iter().map(chain).collect::<String>(),
        )
    }

    fn clients(&self, directory: &Path) -> String {
        let path = modules();
        format!(
            "<c2s>{}<local>{}<ip>{}</ip><port>5222</port></local><io><max_fds>1024</max_fds></io>\
             <authreg><path>{path}</path><module>sqlite</module><sqlite><dbname>{}</dbname>\
             <password_type><plaintext/></password_type></sqlite>\
             <mechanisms><sasl><scram-sha-1/></sasl></mechanisms></authreg></c2s>",
            self.head("c2s"),
            self.host_ids(),
            self.address,
            directory.join("accounts.sqlite").display(),
        )
    }

    fn servers(&self, directory: &Path, ca: &TestCa) -> String {
        let (mut pem, mut requires_tls) = (String::new(), "");
        if self.has_tls {
            let no_names = Leaf::requested();
            let leaf = self.hosts.iter().fold(no_names, |leaf, host| leaf.dns(host));
            let identity = ca.issue(&leaf, &self.name);
            let read = |path| fs::read_to_string(path).expect("it was written");
            let file = directory.join("certificate.pem");
            let both = format!("{}{}", read(&identity.certificate), read(&identity.key));
            fs::write(&file, both).expect("the test's directory can be written");
            pem = format!("<pemfile>{}</pemfile>", file.display());
            requires_tls = "<require_tls/>";
        }
        // A host that once failed would be left out for an hour.
        format!(
            "<s2s>{}<local><ip>{}</ip><port>5269</port>{pem}</local>\
             <io><max_fds>1024</max_fds></io>\
             <lookup><srv>xmpp-server</srv><bad-host-timeout>0</bad-host-timeout></lookup>\
             <security>{requires_tls}</security></s2s>",
            self.head("s2s"),
            self.address,
        )
    }
}

/// Where Debian puts the modules.
fn modules() -> String {
    format!("/usr/lib/{ARCH}-linux-gnu/jabberd2")
}

/// A running jabberd2.
pub struct Jabberd2 {
    programs: [Process; 4],
}

impl Jabberd2 {
    /// The program that talks to other servers: its log.
    pub fn servers(&mut self) -> &mut Process {
        let [_, _, _, servers] = &mut self.programs;
        servers
    }
}
