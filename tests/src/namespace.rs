//! One network, process and mount namespace for each test, so that ports and names are its own.
//!
//! Inside, the well-known ports are free, `/etc/hosts` and `/etc/resolv.conf` are the test's, and
//! no packet leaves the machine. Whatever the test started ends with it, however it ends.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::{Deadline, until};

/// Where the name server of a test listens; `/etc/resolv.conf` names it.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// The longest that one test may run, in seconds.
const TEST_S_MAX: u64 = 900;
/// Set inside a namespace to the test's directory.
const PLACE_VARIABLE: &str = "ISTHMUS_TEST_PLACE";
/// What a line begins with that holds, as JSON, a text that is shown even if the test passes.
const PUBLISHED: &str = "published: ";
/// The file that says that the body of the test was reached and ended well.
const DONE_FILE: &str = "done";

/// Runs the body of the test `test` in namespaces of its own.
///
/// `test` is the test's full name, as `cargo test` prints it: the current test binary is run once
/// more, inside the namespaces, for that one test.
///
/// # Panics
///
/// When the body does, and then the test's directory is kept; or when no test has that name.
pub fn in_namespace(test: &str, body: impl FnOnce(&Place)) {
    match env::var_os(PLACE_VARIABLE) {
        Some(directory) => run_inside(PathBuf::from(directory), body),
        None => run_from_outside(test, &["--exact", test, "--nocapture", "--include-ignored"]),
    }
}

/// Runs the body of a program that is no test in namespaces of its own, as [`in_namespace`] does.
///
/// The program is run once more, inside the namespaces, with these arguments.
///
/// # Panics
///
/// When the body does, and then the directory is kept.
pub fn program_in_namespace(name: &str, arguments: &[&str], body: impl FnOnce(&Place)) {
    match env::var_os(PLACE_VARIABLE) {
        Some(directory) => run_inside(PathBuf::from(directory), body),
        None => run_from_outside(name, arguments),
    }
}

/// Shows a text to whoever runs the tests, even if the test passes; from inside a namespace.
pub fn publish(text: &str) {
    show(&format!("{PUBLISHED}{}", Value::from(text)));
}

/// Runs the body of a test with a directory of its own, and the network of this machine.
///
/// # Panics
///
/// When the body does, and then the test's directory is kept.
pub fn in_directory(body: impl FnOnce(&Place)) {
    let directory = TempDir::with_prefix("isthmus-test-").expect("a directory can be made");
    // Until the body has ended well.
    let path = directory.keep();
    body(&Place { directory: path.clone() });
    fs::remove_dir_all(&path).expect("the test's directory can be removed");
}

/// What a test has to itself: a directory and a network.
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// The directory that is removed after the test, unless it failed.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a directory within the test's.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn make_directory(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).expect("the test's directory can be written");
        path
    }

    /// Writes a file into the test's directory.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, contents).expect("the test's directory can be written");
        path
    }

    /// Names an address in `/etc/hosts`.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn name_address(&self, name: &str, address: Ipv4Addr) {
        let path = self.directory.join("hosts");
        let hosts = fs::read_to_string(&path).expect("the namespace has its own hosts file");
        fs::write(&path, format!("{hosts}{address} {name}\n")).expect("it can be written");
    }

    /// Adds an interface with an address that is not of the loopback network.
    ///
    /// `name` has at most ten characters.
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn add_interface(&self, name: &str, address: Ipv4Addr) {
        let far_end = format!("{name}-far");
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", &far_end]);
        run("ip", &["address", "add", &format!("{address}/24"), "dev", name]);
        run("ip", &["link", "set", name, "up"]);
        run("ip", &["link", "set", &far_end, "up"]);
    }

    /// Lets every packet to an address vanish, as behind a dead link; `name` is as in
    /// [`Place::add_interface`].
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn add_black_hole(&self, name: &str, address: Ipv6Addr) {
        let far_end = format!("{name}-far");
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", &far_end]);
        run("ip", &["link", "set", name, "up"]);
        run("ip", &["link", "set", &far_end, "up"]);
        // Any address of the network will do to send from.
        let near = Ipv6Addr::from_bits(address.to_bits() ^ 1 << 15);
        run("ip", &["-6", "address", "add", &format!("{near}/64"), "dev", name, "nodad"]);
        let nobody = ["lladdr", "02:00:00:00:00:07", "dev", name, "nud", "permanent"];
        run("ip", &[&["-6", "neigh", "add", &address.to_string()], nobody.as_slice()].concat());
    }

    /// Makes a second network, joined to this one by one link; the addresses are its two ends.
    ///
    /// `name` has at most ten characters.
    ///
    /// # Panics
    ///
    /// When the network cannot be made.
    pub fn add_network(&self, name: &str, near: Ipv4Addr, far: Ipv4Addr) -> Network {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]);
        let holder = Process::start(&format!("network-{name}"), &self.directory, command);
        let ours = fs::read_link("/proc/self/ns/net").expect("proc is mounted");
        let namespace = PathBuf::from(format!("/proc/{}/ns/net", holder.id()));
        until("a second network", Deadline::after_s(5), || match fs::read_link(&namespace) {
            Ok(theirs) if theirs != ours => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let (near_end, far_end) = (format!("{name}-near"), format!("{name}-far"));
        let id = holder.id().to_string();
        run("ip", &["link", "add", &near_end, "type", "veth", "peer", "name", &far_end]);
        run("ip", &["link", "set", &far_end, "netns", &id]);
        run("ip", &["address", "add", &format!("{near}/24"), "dev", &near_end]);
        run("ip", &["link", "set", &near_end, "up"]);
        let network = Network { holder, near_end };
        network.run("ip", &["address", "add", &format!("{far}/24"), "dev", &far_end]);
        network.run("ip", &["link", "set", &far_end, "up"]);
        network.run("ip", &["link", "set", "lo", "up"]);
        network
    }

    /// Breaks every TCP connection to and from a port of this network, until it is mended.
    ///
    /// # Panics
    ///
    /// When `iptables` refuses.
    pub fn cut_port(&self, port: u16, cut: Cut) -> CutPort {
        let cut = CutPort { port: port.to_string(), cut };
        cut.change("--insert");
        cut
    }
}

/// How a path is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Packets vanish, as behind a dead link; both ends must find out by themselves.
    Silent,
    /// Packets are answered with a reset, as by a host that restarted.
    Reset,
}

/// A TCP port that nobody reaches.
pub struct CutPort {
    port: String,
    cut: Cut,
}

impl CutPort {
    /// Lets packets pass again.
    ///
    /// # Panics
    ///
    /// When `iptables` refuses.
    pub fn mend(self) {
        self.change("--delete");
    }

    fn change(&self, action: &str) {
        let target = match self.cut {
            Cut::Silent => ["-j", "DROP"].as_slice(),
            // The resets themselves must pass.
            Cut::Reset => {
                ["!", "--tcp-flags", "RST", "RST", "-j", "REJECT", "--reject-with", "tcp-reset"]
                    .as_slice()
            }
        };
        for side in ["--dport", "--sport"] {
            let rule = ["--wait", action, "INPUT", "-p", "tcp", side, &self.port];
            run("iptables", &[rule.as_slice(), target].concat());
        }
    }
}

/// A second network, reached over one link that can be cut.
pub struct Network {
    holder: Process,
    near_end: String,
}

impl Network {
    /// A command that runs in this network.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(program);
        command
    }

    /// Takes the link down: packets vanish in both directions.
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn cut(&self) {
        run("ip", &["link", "set", &self.near_end, "down"]);
    }

    /// Takes the link up again.
    ///
    /// # Panics
    ///
    /// When `ip` refuses.
    pub fn mend(&self) {
        run("ip", &["link", "set", &self.near_end, "up"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        check(self.command(program).args(arguments));
    }
}

fn run_from_outside(test: &str, arguments: &[&str]) {
    let place = TempDir::with_prefix("isthmus-test-").expect("a temporary directory can be made");
    let command = command_inside(arguments, place.path());
    let mut child = Process::start("namespace", place.path(), command);
    let deadline = Deadline::after_s(TEST_S_MAX);
    while let Some(line) = child.next_line(deadline) {
        match line.text.strip_prefix(PUBLISHED) {
            Some(text) => write_past_the_harness(text),
            None => show(&line.text),
        }
    }
    let ended_well = !deadline.has_passed() && child.wait_for_exit(deadline).success();
    drop(child);
    if !ended_well {
        let kept = place.keep();
        panic!("{test} failed in its namespaces; its files are kept in {}", kept.display());
    }
    assert!(place.path().join(DONE_FILE).exists(), "no test has the name {test}");
}

/// The command that runs this program in namespaces which end with it, as it ends with this thread.
fn command_inside(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    let effective_user = fs::metadata("/proc/self").expect("proc is mounted").uid();
    if effective_user != 0 {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(env::current_exe().expect("the test binary has a path"));
    command.args(arguments);
    command.env(PLACE_VARIABLE, directory);
    command
}

fn run_inside(directory: PathBuf, body: impl FnOnce(&Place)) {
    run("ip", &["link", "set", "lo", "up"]);
    let place = Place { directory };
    let own_files = [
        ("hosts", "127.0.0.1 localhost\n".to_owned()),
        ("resolv.conf", format!("nameserver {NAME_SERVER}\noptions timeout:1 attempts:2\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    for (name, contents) in own_files {
        let path = place.write(name, &contents);
        run("mount", &["--bind", &path.to_string_lossy(), &format!("/etc/{name}")]);
    }
    body(&place);
    place.write(DONE_FILE, "");
}

fn run(program: &str, arguments: &[&str]) {
    check(Command::new(program).args(arguments));
}

fn check(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

#[expect(clippy::print_stdout, reason = "the test harness captures it and shows it on failure")]
fn show(line: &str) {
    println!("{line}");
}

/// Writes to standard output, where the test harness keeps back only what is printed by macros.
fn write_past_the_harness(json: &str) {
    let text: String = serde_json::from_str(json).unwrap_or_else(|_| json.to_owned());
    // In one piece, since other tests write too; and a text that nobody reads is no failure.
    let _ = io::stdout().write_all(format!("\n{text}").as_bytes());
}
