//! The two processes under test, configured as an administrator would, started, killed, asked.

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::account::Account;
use crate::namespace::{NAME_SERVER, Place};
use crate::process::Process;
use crate::test_ca::{Leaf, TestCa};
use crate::wait::{Deadline, until};

/// How long the processes may take until they are ready, in seconds.
const START_S_MAX: u64 = 20;

/// Where the edge is reached by partners and by the front end.
pub const EDGE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// The port of the link.
pub const LINK_PORT: u16 = 23456;

/// Where the front end looks for the edge.
pub const OWN_EDGE: &str = "127.0.0.3:23456";

/// What the certificate of another edge calls it, which a test may play.
pub const OTHER_EDGE_NAME: &str = "edge2";

/// The ports on which next hops reach the front end.
pub const INSIDE_TCP: u16 = 5070;
/// The one for TLS.
pub const INSIDE_TLS: u16 = 5071;

/// The port of metrics and health, on both hosts.
const INTERNAL_PORT: u16 = 9090;

/// A policy that lets the users of `contoso.example` and of `fabrikam.example` reach each other.
pub const OPEN_POLICY: &str = r#"
[[local_domain]]
domain = "contoso.example"

[[xmpp_partner]]
domain = "fabrikam.example"
partner_type = "federated"
allow_private_addresses = true

[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true
"#;

/// An appliance before its start.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The domain whose certificate the edge and the home show.
    pub domain: &'a str,
    /// The certificate that partners are shown, if it is to be another than a server's of `domain`.
    pub public: Option<Leaf>,
    /// The policy document that the store begins with.
    pub policy: &'a str,
    /// Where the home is reached, on ports 5060 (TCP) and 5061 (TLS).
    pub home: Ipv4Addr,
    /// More lines of the front end's `[home]` table.
    pub home_settings: &'a str,
    /// Whether next hops are listened for, at the home's address.
    pub has_next_hops: bool,
    /// Whether the partners' authority is trusted by the edge, and the edge's by partners.
    pub is_certified: bool,
    /// Whether partners may begin with TLS, on port 5270.
    pub has_direct_tls: bool,
    /// More lines of the edge's `[xmpp]` table, and tables below it.
    pub xmpp_settings: &'a str,
    /// The lines of the edge's `[xmpp.limits]` table.
    pub xmpp_limits: &'a str,
    /// The level of the logs.
    pub log_level: &'a str,
    /// How long a lookup of the edge may take, in milliseconds.
    pub lookup_ms_max: u32,
    /// Where the front end looks for edges, each as `host:port`.
    pub edges: &'a [&'a str],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            domain: "contoso.example",
            public: None,
            policy: OPEN_POLICY,
            home: Ipv4Addr::new(127, 0, 0, 4),
            home_settings: "",
            has_next_hops: false,
            is_certified: true,
            has_direct_tls: false,
            xmpp_settings: "",
            // The peers of a test share few addresses.
            xmpp_limits: "exempt = [\"127.0.0.0/8\"]",
            log_level: "debug",
            lookup_ms_max: 5000,
            edges: &[OWN_EDGE],
        }
    }
}

/// A running edge and front end.
pub struct Appliance {
    home: Ipv4Addr,
    link_ca: TestCa,
    directory: PathBuf,
    edge: Process,
    frontend: Process,
}

impl Setup<'_> {
    /// Writes the files of both hosts into the test's directory; `ca` issues their certificates.
    /// Returns the authority of the link.
    ///
    /// Beside them `other-edge.pem` and `other-edge.key` are an edge's that is none of ours.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn write(&self, place: &Place, ca: &TestCa) -> TestCa {
        let own_ca;
        let public_ca = if self.is_certified {
            ca
        } else {
            own_ca = TestCa::new(place.directory(), "edge-ca");
            &own_ca
        };
        let leaf = self.public.clone().unwrap_or_else(|| Leaf::server(self.domain));
        let public = public_ca.issue(&leaf, "edge-public");
        let home = ca.issue(&Leaf::server(self.domain).address(self.home), "home");
        let link_ca = TestCa::new(place.directory(), "link-ca");
        let edge = link_ca.issue(&Leaf::link("edge", "edge1"), "edge-link");
        link_ca.issue(&Leaf::link("edge", OTHER_EDGE_NAME), "other-edge");
        let frontend = link_ca.issue(&Leaf::link("frontend", "frontend1"), "frontend-link");
        let (trust, link_trust) = (ca.certificate(), link_ca.certificate());
        let inside = match self.has_next_hops {
            true => format!(
                "[inside]\nname = \"{address}\"\nlisten = \"{address}:{INSIDE_TCP}\"\n\
                 listen_tls = \"{address}:{INSIDE_TLS}\"\ncertificate = {:?}\nkey = {:?}\n\
                 trust = [{:?}]\n",
                home.certificate,
                home.key,
                ca.certificate(),
                address = self.home,
            ),
            false => String::new(),
        };
        let direct_tls = match self.has_direct_tls {
            true => format!("listen_direct_tls = [\"{EDGE}:5270\"]\n"),
            false => String::new(),
        };
        let Self { home: home_address, home_settings, xmpp_settings, xmpp_limits, .. } = self;
        let Self { log_level, lookup_ms_max, edges, .. } = self;
        place.write(
            "edge.toml",
            &format!(
                "[xmpp]\nlisten = [\"{EDGE}:5269\"]\n{direct_tls}certificate = {:?}\nkey = {:?}\n\
             trust = [{trust:?}]\nsystem_trust = false\n{xmpp_settings}\n[xmpp.limits]\n{xmpp_limits}\n\
             [link]\nlisten = \"{EDGE}:{LINK_PORT}\"\ncertificate = {:?}\nkey = {:?}\n\
             trust = [{link_trust:?}]\n\
             [internal]\nlisten = \"{EDGE}:{INTERNAL_PORT}\"\n\
             [resolver]\nname_servers = [\"{NAME_SERVER}:53\"]\n\
             lookup_ms_max = {lookup_ms_max}\n\
             [log]\nlevel = \"{log_level}\"\n",
                public.certificate, public.key, edge.certificate, edge.key,
            ),
        );
        place.write(
            "frontend.toml",
            &format!(
                "[link]\nedges = {edges:?}\ncertificate = {:?}\nkey = {:?}\n\
             trust = [{link_trust:?}]\n\
             [home]\nname = \"{home_address}\"\nlisten = [\"{home_address}:5060\"]\n\
             listen_tls = [\"{home_address}:5061\"]\ncertificate = {:?}\nkey = {:?}\n\
             {home_settings}\n{inside}\
             [store]\nfile = {:?}\n[policy]\nfile = {:?}\n[admin]\nsocket = {:?}\n\
             [internal]\nlisten = \"{home_address}:{INTERNAL_PORT}\"\n\
             [log]\nlevel = \"{log_level}\"\n",
                frontend.certificate,
                frontend.key,
                home.certificate,
                home.key,
                place.directory().join("store.sqlite"),
                place.write("policy.toml", self.policy),
                place.directory().join("admin.socket"),
            ),
        );
        link_ca
    }

    /// Starts both processes and waits until each is ready.
    ///
    /// # Panics
    ///
    /// When one of them does not become ready.
    pub fn start(&self, place: &Place, ca: &TestCa) -> Appliance {
        let link_ca = self.write(place, ca);
        let directory = place.directory().to_owned();
        let edge = launch("edge-proxy", "edge", &directory);
        let frontend = launch("frontend-gateway", "frontend", &directory);
        let appliance = Appliance { home: self.home, link_ca, directory, edge, frontend };
        appliance.wait_until_ready();
        appliance
    }
}

impl Appliance {
    /// Where users connect with TCP.
    pub fn sip(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.home, 5060)
    }

    /// Where users connect with TLS.
    pub fn sip_tls(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.home, 5061)
    }

    /// The authority of the link, for those who would attach to it.
    pub fn link_ca(&self) -> &TestCa {
        &self.link_ca
    }

    /// The edge: its log, its end, its cost.
    pub fn edge(&mut self) -> &mut Process {
        &mut self.edge
    }

    /// The front end: its log, its end, its cost.
    pub fn frontend(&mut self) -> &mut Process {
        &mut self.frontend
    }

    /// Waits until both processes say that they are ready.
    ///
    /// # Panics
    ///
    /// When one of them does not.
    pub fn wait_until_ready(&self) {
        for (name, address) in [("edge", EDGE), ("frontend", self.home)] {
            until(&format!("a ready {name}"), Deadline::after_s(START_S_MAX), || {
                match page(address, "/readyz") {
                    Ok(text) if text.starts_with("HTTP/1.1 200") => Ok(()),
                    Ok(text) => Err(text),
                    Err(error) => Err(error.to_string()),
                }
            });
        }
    }

    /// Starts the front end again, after its end, with the same files.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart_frontend(&mut self) {
        self.frontend.kill_9();
        self.frontend = launch("frontend-gateway", "frontend", &self.directory);
    }

    /// Starts the edge again, after its end, with the same files.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart_edge(&mut self) {
        self.edge.kill_9();
        self.edge = launch("edge-proxy", "edge", &self.directory);
    }

    /// Runs a command of the front end's command line; `input` is its standard input.
    ///
    /// # Panics
    ///
    /// When it cannot be run.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        run_command("frontend-gateway", "frontend", &self.directory, arguments, input)
    }

    /// Adds a user to the home.
    ///
    /// # Panics
    ///
    /// When the front end refuses it.
    pub fn add_user(&self, account: &Account<'_>) {
        self.add_user_with(account, &[]);
    }

    /// Adds a user whose devices know only MD5.
    ///
    /// # Panics
    ///
    /// When the front end refuses it.
    pub fn add_legacy_user(&self, account: &Account<'_>) {
        self.add_user_with(account, &["--legacy-digest"]);
    }

    fn add_user_with(&self, account: &Account<'_>, options: &[&str]) {
        let address = format!("{}@{}", account.user, account.domain);
        let arguments = [&["user", "add", &address], options].concat();
        let output = self.command(&arguments, account.password);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Asks what stands between two addresses; gives the verdict and every line.
    ///
    /// # Panics
    ///
    /// When the command neither passes nor refuses.
    pub fn explain(&self, from: &str, to: &str) -> (bool, String) {
        let output = self.command(&["explain", from, to], "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.code() {
            Some(0) => (true, text(&output.stdout)),
            Some(77) => (false, text(&output.stderr)),
            other => panic!("explain ended with {other:?}: {}", text(&output.stderr)),
        }
    }

    /// What the front end shows of its edges, line by line.
    ///
    /// # Panics
    ///
    /// When the command fails.
    pub fn edges(&self) -> Vec<String> {
        let output = self.command(&["edges"], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The sum of a counter of the front end over all of its labels that hold `labels`.
    ///
    /// # Panics
    ///
    /// When the page cannot be read.
    pub fn frontend_counter(&self, name: &str, labels: &str) -> f64 {
        counter(self.home, name, labels)
    }

    /// The sum of a counter of the edge over all of its labels that hold `labels`.
    ///
    /// # Panics
    ///
    /// When the page cannot be read.
    pub fn edge_counter(&self, name: &str, labels: &str) -> f64 {
        counter(EDGE, name, labels)
    }
}

/// Starts another edge with the files of the one, at an address of its own.
///
/// # Panics
///
/// When it cannot be started.
pub fn launch_replica(name: &str, address: Ipv4Addr, directory: &Path) -> Process {
    let settings = std::fs::read_to_string(directory.join("edge.toml")).expect("it was written");
    let settings = settings.replace(&format!("\"{EDGE}:"), &format!("\"{address}:"));
    let file = directory.join(format!("{name}.toml"));
    std::fs::write(file, settings).expect("the test's directory can be written");
    launch("edge-proxy", name, directory)
}

/// Runs a command line of one of the two programs with the configuration `<file>.toml`.
///
/// # Panics
///
/// When it cannot be run.
pub fn run_command(
    program: &str,
    file: &str,
    directory: &Path,
    arguments: &[&str],
    input: &str,
) -> Output {
    let mut command = Command::new(binary(program));
    command.arg("--config").arg(directory.join(format!("{file}.toml"))).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A command that reads nothing may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Starts one of the two programs; `name` names its configuration and its log.
///
/// # Panics
///
/// When it cannot be started.
pub fn launch(program: &str, name: &str, directory: &Path) -> Process {
    launch_by(Command::new(binary(program)), name, directory)
}

/// Starts one of the two programs, which may have only so many descriptors open at a time.
///
/// # Panics
///
/// When it cannot be started.
pub fn launch_with_descriptors(
    program: &str,
    name: &str,
    directory: &Path,
    descriptors_max: u32,
) -> Process {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors_max}")).arg("--").arg(binary(program));
    launch_by(command, name, directory)
}

fn launch_by(mut command: Command, name: &str, directory: &Path) -> Process {
    command.arg("run").arg("--config").arg(directory.join(format!("{name}.toml")));
    Process::start(name, directory, command)
}

/// The directory of the two programs.
///
/// # Panics
///
/// When they have not been built.
pub fn programs() -> PathBuf {
    binary("edge-proxy").parent().expect("a program is in a directory").to_owned()
}

/// The path of one of the two programs: the release build, which `tests/run.sh` makes;
/// `ISTHMUS_PROGRAMS` names another directory.
///
/// # Panics
///
/// When it is missing.
pub fn binary(program: &str) -> PathBuf {
    let path = match env::var_os("ISTHMUS_PROGRAMS") {
        Some(directory) => Some(PathBuf::from(directory).join(program)),
        None => {
            // This program is somewhere below <target>.
            let own = env::current_exe().expect("this program has a path");
            let mut releases = own.ancestors().map(|it| it.join("release").join(program));
            releases.find(|path| path.exists())
        }
    };
    let found = path.filter(|path| path.exists());
    found.unwrap_or_else(|| panic!("{program} is missing: run tests/run.sh, or build it"))
}

fn page(address: Ipv4Addr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, INTERNAL_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn counter(address: Ipv4Addr, name: &str, labels: &str) -> f64 {
    let text = page(address, "/metrics").expect("the metrics can be read");
    let of_name = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && line.contains(labels)
    };
    let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}
