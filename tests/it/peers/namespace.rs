//! A test has its network to itself, nothing of it outlives it, and its paths can be cut.

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::dns::{Dns, Records};
use tests::namespace::{Cut, in_namespace};
use tests::process::Process;
use tests::wait::{Deadline, until};

const SOON: Duration = Duration::from_millis(300);

fn reaches(address: Ipv4Addr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), SOON).is_ok()
}

/// Why nothing can be read, or nothing came for a while.
fn read_error(stream: &mut TcpStream) -> ErrorKind {
    stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    stream.read_exact(&mut [0]).expect_err("nothing passes").kind()
}

#[test]
fn well_known_ports_are_free_and_names_are_those_of_the_test() {
    let test = "peers::namespace::well_known_ports_are_free_and_names_are_those_of_the_test";
    in_namespace(test, |place| {
        for port in [5060, 5061, 5222, 5269] {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        }
        place.name_address("hosted.example", Ipv4Addr::new(127, 0, 0, 9));
        let records = Records::new().address("served.example", Ipv4Addr::new(127, 0, 0, 8));
        let mut dns = Dns::start(place, &records);
        let resolve = |name: &str| (name, 5060).to_socket_addrs().map(|mut found| found.next());
        for (name, last) in [("hosted.example", 9), ("served.example", 8)] {
            let found = resolve(name).expect("the name is known");
            let expected = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 5060);
            assert_eq!(found, Some(expected.into()));
        }
        let mark = dns.mark();
        resolve("other.example").expect_err("the name does not exist");
        assert!(!dns.questions_about(mark, "other.example").is_empty());
        assert!(dns.questions_about(mark, "served.example").is_empty());
        let records = Records::new().address("other.example", Ipv4Addr::new(127, 0, 0, 7));
        dns.replace(&records);
        resolve("other.example").expect("the name exists after the change");
        resolve("served.example").expect_err("the name does not exist after the change");
    });
}

#[test]
fn a_cut_port_is_silent_or_resets_until_it_is_mended() {
    let test = "peers::namespace::a_cut_port_is_silent_or_resets_until_it_is_mended";
    in_namespace(test, |place| {
        for (port, cut) in [(23456, Cut::Silent), (23457, Cut::Reset)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
            let mut near = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
            let (mut far, _) = listener.accept().expect("it was dialled");
            let cut_port = place.cut_port(port, cut);
            assert!(!reaches(Ipv4Addr::LOCALHOST, port), "{cut:?}");
            near.write_all(b"x").expect("the kernel takes it");
            let lost = match cut {
                Cut::Silent => read_error(&mut far),
                Cut::Reset => read_error(&mut near),
            };
            let expected = match cut {
                Cut::Silent => ErrorKind::WouldBlock,
                Cut::Reset => ErrorKind::ConnectionReset,
            };
            assert_eq!(lost, expected);
            cut_port.mend();
            assert!(reaches(Ipv4Addr::LOCALHOST, port), "{cut:?}");
        }
    });
}

#[test]
fn a_second_network_is_reached_over_one_link_that_can_be_cut() {
    let test = "peers::namespace::a_second_network_is_reached_over_one_link_that_can_be_cut";
    in_namespace(test, |place| {
        let (near, far) = (Ipv4Addr::new(10, 77, 1, 1), Ipv4Addr::new(10, 77, 1, 2));
        let network = place.add_network("dmz", near, far);
        let mut server = network.command("/usr/bin/python3");
        server.args(["-m", "http.server", "8000"]).current_dir(place.directory());
        let mut server = Process::start("server", place.directory(), server);
        until("the far server", Deadline::after_s(10), || {
            if reaches(far, 8000) { Ok(()) } else { Err("no connection".to_owned()) }
        });
        assert!(!reaches(Ipv4Addr::LOCALHOST, 8000), "the networks are apart");
        let records = Records::new().address("served.example", Ipv4Addr::new(127, 0, 0, 8));
        let _dns = Dns::start_at(place, &records, &[near]);
        place.write("resolv.conf", &format!("nameserver {near}\n"));
        let found = network.command("getent").args(["ahostsv4", "served.example"]).output();
        assert!(found.is_ok_and(|found| found.stdout.starts_with(b"127.0.0.8")));
        network.cut();
        assert!(!reaches(far, 8000), "the link is cut");
        network.mend();
        until("the far server again", Deadline::after_s(10), || {
            if reaches(far, 8000) { Ok(()) } else { Err("no connection".to_owned()) }
        });
        server.terminate(Deadline::after_s(10));
        assert!(!reaches(far, 8000), "the far server is gone");
    });
}

#[test]
fn a_process_is_measured_signalled_and_killed_with_its_children() {
    let test = "peers::namespace::a_process_is_measured_signalled_and_killed_with_its_children";
    in_namespace(test, |place| {
        let mut command = Command::new("sh");
        // Counts to use processor time, then starts a child that holds a port for ever.
        command.args([
            "-c",
            "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo counted; \
                      /usr/bin/python3 -m http.server 8000; true",
        ]);
        let mut process = Process::start("shell", place.directory(), command);
        process.wait_for_line("counted", Deadline::after_s(30));
        assert!(process.cpu_seconds() > 0.0);
        assert!(process.resident_bytes() > 100_000);
        until("the child's port", Deadline::after_s(10), || {
            if reaches(Ipv4Addr::LOCALHOST, 8000) { Ok(()) } else { Err("closed".to_owned()) }
        });
        process.kill_9();
        until("the end of the child, and of its port", Deadline::after_s(10), || {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 8000));
            bound.map(drop).map_err(|error| error.to_string())
        });
    });
}

#[test]
fn a_failure_inside_is_a_failure_outside_that_names_the_files() {
    let test = "peers::namespace::a_failure_inside_is_a_failure_outside_that_names_the_files";
    let is_inside = Cell::new(false);
    let failure = catch_unwind(AssertUnwindSafe(|| {
        in_namespace(test, |place| {
            is_inside.set(true);
            let mut command = Command::new("echo");
            command.arg("the last words");
            let mut process = Process::start("echo", place.directory(), command);
            process.wait_for_line("other words", Deadline::after_s(5));
        });
    }));
    let failure = failure.expect_err("it fails on both sides");
    if is_inside.get() {
        resume_unwind(failure);
    }
    let message = failure.downcast::<String>().expect("it is a message");
    let kept = Path::new(message.rsplit(' ').next().expect("it has words"));
    let output = fs::read_to_string(kept.join("namespace.log")).expect("the files are kept");
    fs::remove_dir_all(kept).expect("they can be removed");
    assert!(output.contains("echo was to print within 5 s: other words"), "{output}");
    assert!(output.contains("--- the end of the output of echo"), "{output}");
    assert!(output.contains("the last words"), "{output}");
}

#[test]
#[should_panic(expected = "no test has the name peers::namespace::nowhere")]
fn a_name_that_no_test_has_is_a_failure() {
    in_namespace("peers::namespace::nowhere", |_| {});
}

#[test]
fn what_a_test_leaves_running_ends_with_it() {
    // A time that no other program of the machine sleeps for.
    let duration_s = "86399.25";
    let is_inside = Cell::new(false);
    in_namespace("peers::namespace::what_a_test_leaves_running_ends_with_it", |_| {
        is_inside.set(true);
        let left = Command::new("setsid").args(["--fork", "sleep", duration_s]).status();
        assert!(left.is_ok_and(|status| status.success()));
    });
    if !is_inside.get() {
        let found = Command::new("pgrep").args(["-f", duration_s]).output().expect("it starts");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}
