//! The containers of `deploy/compose.yaml`, under a name and in networks of the test's own.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;
use tests::appliance::programs;
use tests::namespace::Place;
use tests::process::{Mark, Process};
use tests::wait::{Deadline, until};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What no other composition on the machine is called.
const PROJECT: &str = "isthmus-test";
/// What the addresses of the test's networks begin with.
const NETWORKS: &str = "10.218";
/// Where the home is reached in the inner network.
pub(super) const HOME: &str = "10.218.3.20";
/// Where the image has the scripts of the folder `drivers`.
const SCRIPTS: &str = "/usr/local/lib/isthmus";
/// How long images may take that were never made on this machine, in seconds.
const BUILD_S_MAX: u64 = 900;
/// How long containers may take until they are ready, and until they are gone, in seconds.
const UP_S_MAX: u64 = 180;
const DOWN_S_MAX: u64 = 60;

/// A service of the composition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Edge,
    Frontend,
    Partner,
    Juliet,
    Romeo,
}

impl Service {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Frontend => "frontend",
            Self::Partner => "partner",
            Self::Juliet => "juliet",
            Self::Romeo => "romeo",
        }
    }
}

/// The running composition; dropping it removes every container, network and volume of it.
pub(super) struct Compose<'a> {
    place: &'a Place,
    /// Held as long as the name and the networks are in use.
    _lock: File,
}

impl<'a> Compose<'a> {
    /// Builds the images and starts everything, with so many edges, until all is ready.
    pub(super) fn up(place: &'a Place, edges: usize) -> Self {
        let engine = run(place, "docker", docker_command(&["version"]), 30);
        assert!(engine.is_ok(), "the docker engine does not answer; start it: {engine:?}");
        let lock = env::temp_dir().join(format!("{PROJECT}.lock"));
        let lock = File::create(lock).expect("the directory of temporary files can be written");
        lock.lock().expect("a file can be locked");
        let compose = Self { place, _lock: lock };
        // A run that was killed left its containers.
        compose.run(&["down", "--volumes", "--timeout", "1"], DOWN_S_MAX);
        let mut images = with_settings(Command::new(format!("{ROOT}/deploy/images.sh")));
        images.env("ISTHMUS_PROGRAMS", programs());
        run(place, "images", images, BUILD_S_MAX).unwrap_or_else(|output| panic!("{output}"));
        let scale = format!("edge={edges}");
        compose.run(&["up", "--detach", "--scale", &scale], UP_S_MAX);
        for service in
            [Service::Edge, Service::Frontend, Service::Partner, Service::Juliet, Service::Romeo]
        {
            let deadline = Deadline::after_s(UP_S_MAX);
            until(&format!("a ready {service:?}"), deadline, || compose.unready(service));
        }
        compose
    }

    /// Runs a command of docker-compose and gives its output.
    pub(super) fn run(&self, arguments: &[&str], s_max: u64) -> String {
        let output = run(self.place, "compose", compose_command(arguments), s_max);
        output.unwrap_or_else(|output| panic!("docker-compose {arguments:?}: {output}"))
    }

    /// Runs a command of docker that is to succeed.
    pub(super) fn docker(&self, arguments: &[&str]) {
        self.ask(arguments);
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = run(self.place, "docker", docker_command(arguments), UP_S_MAX);
        output.unwrap_or_else(|output| panic!("docker {arguments:?}: {output}"))
    }

    /// What docker knows of each container, be it running or not.
    pub(super) fn containers(&self) -> Vec<Value> {
        let filter = format!("label=com.docker.compose.project={PROJECT}");
        let ids = self.ask(&["ps", "--all", "--quiet", "--filter", &filter]);
        let inspect: Vec<&str> = ["inspect"].into_iter().chain(ids.split_whitespace()).collect();
        serde_json::from_str(&self.ask(&inspect)).expect("docker writes JSON")
    }

    fn of(&self, service: Service) -> Vec<Value> {
        let mut found = self.containers();
        found.retain(|it| it["Config"]["Labels"]["com.docker.compose.service"] == service.name());
        found
    }

    /// The ids of the containers of a service.
    pub(super) fn ids(&self, service: Service) -> Vec<String> {
        let id = |it: &Value| it["Id"].as_str().expect("a container has an id").to_owned();
        self.of(service).iter().map(id).collect()
    }

    /// The id of the one container of a service.
    pub(super) fn only(&self, service: Service) -> String {
        let mut ids = self.ids(service);
        assert_eq!(ids.len(), 1, "{service:?}");
        ids.remove(0)
    }

    /// The addresses of a running container, in each of its networks.
    pub(super) fn addresses(&self, id: &str) -> Vec<String> {
        let each =
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{end}}";
        let text = self.ask(&["inspect", "--format", each, id]);
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Says which containers of a service are not ready, if any.
    pub(super) fn unready(&self, service: Service) -> Result<(), String> {
        let of = self.of(service);
        let unready: Vec<_> = of
            .iter()
            .map(|it| &it["State"])
            .filter(|state| state["Health"]["Status"] != "healthy")
            .map(ToString::to_string)
            .collect();
        if unready.is_empty() { Ok(()) } else { Err(unready.join("\n")) }
    }

    /// Everything that a container has written, since it was first started.
    pub(super) fn log_of(&self, id: &str) -> String {
        self.ask(&["logs", id])
    }

    /// The command that runs a script of the folder `drivers` in a container.
    pub(super) fn driver(&self, service: Service, script: &str) -> Command {
        let (id, script) = (self.only(service), format!("{SCRIPTS}/{script}"));
        docker_command(&["exec", "--interactive", &id, "python3", "-B", &script])
    }

    /// Looks for open ports of some addresses, from where a container is in the networks.
    ///
    /// `ports` are tried by way of each interface too.
    pub(super) fn scan(&self, id: &str, addresses: &[String], ports: [u64; 3]) -> Process {
        let (network, script) = (format!("container:{id}"), format!("{SCRIPTS}/scan.py"));
        let image = format!("isthmus/peers:{PROJECT}");
        let ports = ports.map(|port| port.to_string()).join(",");
        let mut command = docker_command(&["run", "--rm", "--network", &network, "--read-only"]);
        command.args(["--user", "10001:10001", "--cap-drop", "ALL"]);
        command.args(["--security-opt", "no-new-privileges:true", &image]);
        command.args(["python3", "-B", &script, "--ports", &ports]).args(addresses);
        Process::start("scan", self.place.directory(), command)
    }

    /// Keeps what the containers wrote beside the other logs.
    fn keep_logs(&self) {
        let logs = compose_command(&["logs", "--no-color", "--timestamps"]).output();
        let logs = logs.map(|output| output.stdout).unwrap_or_default();
        // The test has failed anyway.
        let _ = fs::write(self.place.directory().join("containers.log"), logs);
    }
}

impl Drop for Compose<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
            // A second panic would hide the first.
            let _ = compose_command(&["down", "--volumes", "--timeout", "1"]).output();
        } else {
            self.run(&["down", "--volumes", "--timeout", "1"], DOWN_S_MAX);
        }
    }
}

fn docker_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

fn compose_command(arguments: &[&str]) -> Command {
    let mut command = with_settings(Command::new("docker-compose"));
    let file = Path::new(ROOT).join("deploy/compose.yaml");
    command.arg("--project-name").arg(PROJECT).arg("--file").arg(file).args(arguments);
    command
}

fn with_settings(mut command: Command) -> Command {
    command.env("ISTHMUS_TAG", PROJECT).env("ISTHMUS_NETWORKS", NETWORKS);
    command
}

/// Runs a program to its end, and gives what it wrote; as an error when it failed.
fn run(place: &Place, name: &str, command: Command, s_max: u64) -> Result<String, String> {
    let mut process = Process::start(name, place.directory(), command);
    let status = process.wait_for_exit(Deadline::after_s(s_max));
    let output = process.lines_with(Mark::START, "").join("\n");
    if status.success() { Ok(output) } else { Err(output) }
}
