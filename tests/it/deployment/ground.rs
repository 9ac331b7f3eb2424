//! A host to install on: a container in which systemd runs, without a network; and the packages.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tests::appliance::binary;
use tests::namespace::Place;
use tests::wait::{Deadline, until};

/// The programs, which are the names of their units; their packages begin with `isthmus-`.
pub(super) const PROGRAMS: [&str; 2] = ["edge-proxy", "frontend-gateway"];

/// A Debian with systemd, which `tests/run.sh` makes.
const IMAGE: &str = "isthmus/systemd:bookworm";

/// Where the host sees the test's directory.
const SHARED: &str = "/shared";

/// The longest that a host is there, in seconds, whatever becomes of the test.
const HOST_S_MAX: u32 = 900;

/// Makes both packages of the programs under test; returns their directory as the host sees it.
pub(super) fn make_packages(place: &Place, version: &str) -> String {
    let directory = place.make_directory(version);
    for program in PROGRAMS {
        let path = binary(program);
        let profile = path.parent().expect("a program is in a directory");
        let target = profile.parent().expect("that of its profile is in that of the build");
        let mut command = Command::new("cargo");
        command.args(["deb", "--offline", "--no-build", "--strip", "--fast"]);
        command.args(["--package", program, "--deb-version", version]);
        command.args(["--profile", if profile.ends_with("debug") { "dev" } else { "release" }]);
        command.arg("--output").arg(format!("{}/", directory.display()));
        command.env("CARGO_TARGET_DIR", target).current_dir(env!("CARGO_MANIFEST_DIR"));
        said(
            &command.output().expect("cargo-deb is installed"),
            &format!("cargo deb of {program}"),
        );
    }
    format!("{SHARED}/{version}")
}

/// A running host, which is gone when this is dropped.
pub(super) struct Host {
    container: String,
    directory: PathBuf,
}

impl Host {
    /// Starts a host that sees the test's directory as `/shared`, and waits until it is up.
    pub(super) fn start(place: &Place) -> Self {
        let directory = place.directory().to_owned();
        let own_name = directory.file_name().expect("the test's directory has a name");
        let host = Self { container: own_name.to_string_lossy().into_owned(), directory };
        let shared = format!("{}:{SHARED}:ro", host.directory.display());
        // What systemd needs as the first process: its cgroups, mounts, and signals that are its
        // own. With the cgroup namespace of the machine it finds its place among the cgroups.
        let options = [
            ["--name", &host.container],
            ["--pull", "never"],
            ["--network", "none"],
            ["--cap-add", "SYS_ADMIN"],
            ["--security-opt", "seccomp=unconfined"],
            ["--security-opt", "apparmor=unconfined"],
            ["--cgroupns", "host"],
            ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"],
            ["--volume", &shared],
            ["--tmpfs", "/run"],
            ["--tmpfs", "/tmp"],
            ["--env", "container=docker"],
        ];
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--rm"]).args(options.as_flattened());
        command.args([IMAGE, "/lib/systemd/systemd"]);
        said(&command.output().expect("docker is installed"), "docker run");
        until("a host that is up", Deadline::after_s(60), || {
            let state = host.execute("systemctl is-system-running");
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            // Degraded: up, but for a unit that is none of ours.
            if ["running", "degraded"].contains(&state.as_str()) { Ok(()) } else { Err(state) }
        });
        host.run(&format!("systemd-run --quiet --on-active={HOST_S_MAX} systemctl exit"));
        host
    }

    /// Runs a line of shell as root, which must succeed; returns what it printed.
    pub(super) fn run(&self, line: &str) -> String {
        said(&self.execute(line), line)
    }

    /// Runs a line of shell as root.
    pub(super) fn execute(&self, line: &str) -> Output {
        let mut command = Command::new("docker");
        command.args(["exec", &self.container, "sh", "-c", line]);
        command.output().expect("docker is installed")
    }

    /// A property of a unit, as `systemctl show` gives it.
    pub(super) fn property(&self, unit: &str, property: &str) -> String {
        self.run(&format!("systemctl show --property={property} --value {unit}"))
    }

    /// Waits until a property of a unit is as awaited.
    pub(super) fn wait_for(&self, unit: &str, property: &str, is_awaited: fn(&str) -> bool) {
        until(&format!("another {property} of {unit}"), Deadline::after_s(60), || {
            let found = self.property(unit, property);
            if is_awaited(&found) { Ok(()) } else { Err(found) }
        });
    }

    /// Waits until the process behind this port of the host says that it is ready.
    pub(super) fn wait_until_ready(&self, port: u16) {
        let ask = format!(
            "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && \
             printf \"GET /readyz HTTP/1.0\\r\\n\\r\\n\" >&3 && cat <&3'"
        );
        until(&format!("a ready process on {port}"), Deadline::after_s(60), || {
            let answer = self.execute(&ask);
            let answer =
                String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
            if answer.contains(" 200 OK") { Ok(()) } else { Err(answer) }
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = self.execute("journalctl --no-pager --output=short-precise");
            // The test has failed already, for a better reason.
            let _ = fs::write(self.directory.join("journal.log"), journal.stdout);
        }
        let _ = Command::new("docker").args(["rm", "--force", &self.container]).output();
    }
}

/// What a command printed, without the white space around it.
fn said(output: &Output, command: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, complaints) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command}\n{}\n{out}\n{complaints}", output.status);
    out
}
