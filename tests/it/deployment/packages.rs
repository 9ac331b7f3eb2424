//! The life of both packages on one host: installed, configured, run, upgraded, removed, purged.

use tests::namespace::{Place, in_namespace};
use tests::test_ca::{Leaf, TestCa};
use tests::wait::{Deadline, until};

use super::ground::{Host, PROGRAMS, make_packages};

/// The users of the programs.
const USERS: [&str; 2] = ["isthmus-edge", "isthmus-frontend"];

/// The ports of `/readyz` in the annotated files.
const INTERNAL_PORTS: [u16; 2] = [9090, 9091];

/// Where the configuration's own files are.
const CONFIGURATION: &str = "/etc/isthmus";

const STORE: &str = "/var/lib/isthmus/store.sqlite";

#[test]
fn both_packages_install_run_upgrade_and_go_on_one_host() {
    let test = "deployment::packages::both_packages_install_run_upgrade_and_go_on_one_host";
    in_namespace(test, |place| {
        let old = make_packages(place, "0.0.1-1");
        let new = make_packages(place, concat!(env!("CARGO_PKG_VERSION"), "-1"));
        let host = Host::start(place);
        install(&host, &old);
        expect_directories(&host);
        expect_units_that_wait_for_a_configuration(&host);
        configure(place, &host);
        expect_keys_for_their_process_alone(&host);
        start(&host);
        host.run("echo contoso-secret | frontend-gateway user add romeo@contoso.example");
        reload(&host);
        survive(&host);
        upgrade(&host, &new);
        leave_what_is_stopped(&host, &new);
        remove(&host);
        purge(&host);
    });
}

fn install(host: &Host, packages: &str) {
    host.run(&format!("DEBIAN_FRONTEND=noninteractive apt-get install --yes {packages}/*.deb"));
}

/// Each process has directories of its own before it starts.
fn expect_directories(host: &Host) {
    for (path, mode) in [
        ("/etc/isthmus/edge-proxy", "2750 root isthmus-edge"),
        ("/etc/isthmus/frontend-gateway", "2750 root isthmus-frontend"),
        ("/var/lib/isthmus", "700 isthmus-frontend isthmus-frontend"),
    ] {
        assert_eq!(host.run(&format!("stat --format='%a %U %G' {path}")), mode, "{path}");
    }
}

/// Nothing starts by itself, and what is started without a configuration says so and stays down.
fn expect_units_that_wait_for_a_configuration(host: &Host) {
    let found =
        host.execute("systemd-analyze verify --man=no edge-proxy.service frontend-gateway.service");
    assert_eq!(String::from_utf8_lossy(&found.stderr), "", "what is wrong with the units");
    for unit in PROGRAMS {
        assert_eq!(host.property(unit, "UnitFileState"), "disabled", "{unit}");
        assert_eq!(host.property(unit, "ActiveState"), "inactive", "{unit}");
        host.run(&format!("systemctl start --no-block {unit}"));
        host.wait_for(unit, "ActiveState", |state| state == "failed");
        assert_eq!(host.property(unit, "ExecMainStatus"), "66", "{unit}");
        assert_eq!(host.property(unit, "NRestarts"), "0", "{unit}");
    }
}

/// Writes the files of both programs, from the examples that were installed, and checks them.
fn configure(place: &Place, host: &Host) {
    let ca = TestCa::new(place.directory(), "link-ca");
    ca.issue(&Leaf::server("contoso.example"), "xmpp");
    ca.issue(&Leaf::server("sip.contoso.example"), "home");
    ca.issue(&Leaf::link("edge", "edge1"), "edge-proxy-link");
    ca.issue(&Leaf::link("frontend", "frontend1"), "frontend-gateway-link");
    for (program, own) in PROGRAMS.into_iter().zip(["xmpp", "home"]) {
        let directory = format!("{CONFIGURATION}/{program}");
        let link = format!("{program}-link");
        host.run(&format!("install -m 640 -t {directory} /shared/link-ca.pem /shared/{own}.*"));
        for ending in ["pem", "key"] {
            let (from, to) = (format!("/shared/{link}.{ending}"), format!("link.{ending}"));
            host.run(&format!("install -m 640 {from} {directory}/{to}"));
        }
    }
    for (program, file, changes) in [
        ("edge-proxy", "edge-proxy.toml", [("192.0.2.10:23456", "127.0.0.1:23456")].as_slice()),
        ("frontend-gateway", "policy.toml", &[]),
        (
            "frontend-gateway",
            "frontend-gateway.toml",
            &[
                ("edge.dmz.contoso.example:23456", "localhost:23456"),
                ("10.0.0.20:5060", "127.0.0.1:5060"),
                ("10.0.0.20:5061", "127.0.0.1:5061"),
            ],
        ),
    ] {
        let example = format!("/usr/share/doc/isthmus-{program}/examples/{file}");
        let mut text = host.run(&format!("cat {example}"));
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from:?} stands in {example} once");
            text = text.replace(from, to);
        }
        place.write(file, &text);
        host.run(&format!("cp /shared/{file} {CONFIGURATION}/{file}"));
    }
    check(host);
}

fn check(host: &Host) {
    for (program, user) in PROGRAMS.into_iter().zip(USERS) {
        let verdict = host.run(&format!("runuser --user {user} -- {program} check"));
        assert!(verdict.ends_with("no errors"), "{verdict}");
    }
}

fn expect_keys_for_their_process_alone(host: &Host) {
    for (program, user) in PROGRAMS.into_iter().zip(USERS) {
        let read = |user: &str| {
            let key = format!("{CONFIGURATION}/{program}/link.key");
            host.execute(&format!("runuser --user {user} -- cat {key}")).status.success()
        };
        for reader in USERS.into_iter().chain(["nobody"]) {
            assert_eq!(read(reader), reader == user, "{reader} reads the key of {program}");
        }
    }
}

fn start(host: &Host) {
    host.run("systemctl enable --quiet --now edge-proxy frontend-gateway");
    expect_ready(host);
    for (unit, user) in PROGRAMS.into_iter().zip(USERS) {
        let process = format!("/proc/{}", host.property(unit, "MainPID"));
        assert_eq!(host.run(&format!("stat --format=%U {process}")), user);
        let status = host.run(&format!("cat {process}/status"));
        for line in ["CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(line), "{unit}: {line}\n{status}");
        }
    }
    let others = host.execute(&format!("runuser --user isthmus-edge -- cat {STORE}"));
    assert!(!others.status.success(), "the edge does not read the store");
}

/// Ready are an edge with a front end and a front end with an edge.
fn expect_ready(host: &Host) {
    INTERNAL_PORTS.into_iter().for_each(|port| host.wait_until_ready(port));
}

fn process_ids(host: &Host) -> [String; 2] {
    PROGRAMS.map(|unit| host.property(unit, "MainPID"))
}

fn reload(host: &Host) {
    let before = process_ids(host);
    for unit in PROGRAMS {
        host.run(&format!("systemctl reload {unit}"));
        until(&format!("{unit} with new certificates"), Deadline::after_s(20), || {
            let journal = host.run(&format!("journalctl --unit={unit} --output=cat"));
            let is_read = journal.contains("a certificate was read anew");
            if is_read { Ok(()) } else { Err(journal) }
        });
    }
    assert_eq!(process_ids(host), before);
}

/// A process that was killed is started again, also by a SIGHUP that came too early.
fn survive(host: &Host) {
    host.run("systemctl kill --signal=KILL frontend-gateway");
    host.wait_for("frontend-gateway", "NRestarts", |count| count != "0");
    let drop_in = "/run/systemd/system/edge-proxy.service.d";
    let early = "[Service]\\nExecStart=\\nExecStart=/bin/sh -c \"kill -HUP $$$$\"\\n";
    host.run(&format!("mkdir -p {drop_in} && printf '{early}' > {drop_in}/early.conf"));
    host.run("systemctl daemon-reload && systemctl restart --no-block edge-proxy");
    host.wait_for("edge-proxy", "NRestarts", |count| count != "0");
    host.run(&format!(
        "rm -r {drop_in} && systemctl daemon-reload && systemctl restart edge-proxy"
    ));
    expect_ready(host);
}

/// An upgrade restarts what runs, with the configuration and the data that there were.
fn upgrade(host: &Host, packages: &str) {
    host.run(&format!("echo '# by the administrator' >> {CONFIGURATION}/edge-proxy.toml"));
    let sums = format!("find {CONFIGURATION} -type f -exec sha256sum {{}} +");
    let (processes, files) = (process_ids(host), host.run(&sums));
    install(host, packages);
    for (before, after) in processes.iter().zip(process_ids(host)) {
        assert_ne!(*before, after, "it was restarted");
    }
    expect_ready(host);
    check(host);
    assert_eq!(host.run(&sums), files);
    let users = host.run("frontend-gateway user list");
    assert!(users.contains("romeo@contoso.example"), "{users}");
    for unit in PROGRAMS {
        assert_eq!(host.property(unit, "UnitFileState"), "enabled", "{unit}");
        let version =
            host.run(&format!("dpkg-query --show --showformat='${{Version}}' isthmus-{unit}"));
        assert!(packages.ends_with(&version), "{version} of {packages}");
    }
}

fn leave_what_is_stopped(host: &Host, packages: &str) {
    host.run("systemctl stop edge-proxy");
    host.run(&format!("dpkg --install {packages}/*.deb"));
    assert_eq!(host.property("edge-proxy", "ActiveState"), "inactive");
    host.run("systemctl start edge-proxy");
    expect_ready(host);
}

fn remove(host: &Host) {
    let processes = process_ids(host);
    host.run("apt-get remove --yes isthmus-edge-proxy isthmus-frontend-gateway");
    for process in processes {
        host.run(&format!("test ! -e /proc/{process}"));
    }
    host.run(&format!(
        "test -s {STORE} && test ! -e /run/isthmus && test ! -e /usr/bin/edge-proxy"
    ));
}

fn purge(host: &Host) {
    host.run("apt-get purge --yes isthmus-edge-proxy isthmus-frontend-gateway");
    let left = host.run(
        "find / -xdev -name '*isthmus*' -o -name '*edge-proxy*' -o -name '*frontend-gateway*'",
    );
    let left: Vec<_> = left.lines().filter(|path| !path.starts_with(CONFIGURATION)).collect();
    assert_eq!(left, [""; 0], "what the packages left behind");
    host.run(&format!("test -e {CONFIGURATION}/edge-proxy/xmpp.key && id isthmus-frontend"));
}
