//! What another process holds, or what cannot be opened: ports, sockets, the store.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use tests::account::Account;
use tests::appliance::{Setup, run_command};
use tests::namespace::in_namespace;
use tests::test_ca::TestCa;
use tests::wait::{Deadline, until};

use super::ground::{Document, Ended, Ground};

/// The exit code of something that is not to be had.
const UNAVAILABLE: Option<i32> = Some(69);
/// The exit code of what must not happen.
const INTERNAL: Option<i32> = Some(70);
/// The exit code of a store that cannot be used.
const STORE: Option<i32> = Some(74);

fn assert_one_line(ended: &Ended, code: Option<i32>, texts: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    let [line] = ended.lines.as_slice() else { panic!("one message: {ended:?}") };
    for text in texts {
        assert!(line.contains(text), "{text}: {line}");
    }
}

#[test]
fn a_port_or_socket_in_use_is_named_with_its_key() {
    let test = "configuration::resources::a_port_or_socket_in_use_is_named_with_its_key";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        for (document, address, key) in [
            (Document::Edge, "127.0.0.3:5269", "(xmpp.listen)"),
            (Document::Edge, "127.0.0.3:23456", "(link.listen)"),
            (Document::Edge, "127.0.0.3:9090", "(internal.listen)"),
            (Document::Frontend, "127.0.0.4:5060", "(home.listen)"),
            (Document::Frontend, "127.0.0.4:5061", "(home.listen_tls)"),
            (Document::Frontend, "127.0.0.4:9090", "(internal.listen)"),
        ] {
            let holder = TcpListener::bind(address).expect("the network is the test's own");
            assert_one_line(&ground.run(document), UNAVAILABLE, &[address, key, "in use"]);
            assert_eq!(ground.check(document).code, Some(0), "check binds nothing");
            drop(holder);
        }
        let socket = ground.path("admin.socket");
        let holder = UnixListener::bind(&socket).expect("the directory is the test's own");
        let texts = [socket.as_str(), "(admin.socket)", "in use"];
        assert_one_line(&ground.run(Document::Frontend), UNAVAILABLE, &texts);
        drop(holder);
    });
}

#[test]
fn an_address_of_another_host_is_refused() {
    let test = "configuration::resources::an_address_of_another_host_is_refused";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        ground.break_with(Document::Edge, &[("127.0.0.3:5269", "192.0.2.1:5269")]);
        let texts = ["192.0.2.1:5269", "(xmpp.listen)"];
        assert_one_line(&ground.run(Document::Edge), UNAVAILABLE, &texts);
    });
}

#[test]
fn a_process_without_the_descriptors_to_wait_for_anything_says_so() {
    let test =
        "configuration::resources::a_process_without_the_descriptors_to_wait_for_anything_says_so";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        // Standard input and output, and one that reads the configuration and is free again: not
        // enough for epoll and what wakes it.
        for document in [Document::Edge, Document::Frontend] {
            let ended = ground.run_with_descriptors(document, 4);
            assert_one_line(&ended, INTERNAL, &["Too many open files"]);
        }
    });
}

#[test]
fn a_store_that_cannot_be_used_is_named() {
    let test = "configuration::resources::a_store_that_cannot_be_used_is_named";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        let store = ground.path("store.sqlite");
        fs::write(&store, "no database ".repeat(100)).expect("it can be written");
        let refused = ground.run(Document::Frontend);
        assert_one_line(&refused, STORE, &["store"]);
        assert_eq!(ground.check(Document::Frontend), refused);
        fs::remove_file(&store).expect("it is there");
        fs::create_dir(&store).expect("the name is free");
        let texts = ["cannot open the store", store.as_str()];
        assert_one_line(&ground.run(Document::Frontend), STORE, &texts);
        assert_one_line(&ground.check(Document::Frontend), STORE, &texts);
        let offline = ["explain", "--offline", "a@contoso.example", "b@fabrikam.example"];
        assert_one_line(&ground.command(Document::Frontend, &offline), STORE, &texts);
        fs::remove_dir(&store).expect("it is empty");
        let nowhere = [("DIR/store.sqlite", "DIR/nowhere/store.sqlite")];
        ground.break_with(Document::Frontend, &nowhere);
        let texts = ["cannot open the store", "nowhere/store.sqlite"];
        let refused = ground.run(Document::Frontend);
        assert_one_line(&refused, STORE, &texts);
        assert_eq!(ground.check(Document::Frontend), refused);
    });
}

#[test]
fn what_the_store_holds_is_judged_beside_a_running_front_end_and_after_its_end() {
    let test = "configuration::resources::\
                what_the_store_holds_is_judged_beside_a_running_front_end_and_after_its_end";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "public-ca");
        let setup = Setup::default();
        let mut appliance = setup.start(place, &ca);
        let romeo = Account { user: "romeo", domain: "contoso.example", password: "romeo-secret" };
        appliance.add_user(&romeo);
        let (user, contact) = ("romeo@contoso.example", "juliet@litware.example");
        let denied = appliance.command(&["user", "deny", user, contact], "");
        assert!(denied.status.success());
        let file = place.write("new.toml", &setup.policy.replace("fabrikam", "litware"));
        let file = file.to_str().expect("the test's directory is UTF-8");
        assert!(appliance.command(&["apply", file], "").status.success());

        for is_running in [true, false] {
            if !is_running {
                appliance.frontend().kill_9();
            }
            let explain = |from: &str, to: &str| {
                let output = appliance.command(&["explain", "--offline", from, to], "");
                let said = [output.stdout, output.stderr].concat();
                (output.status.code(), String::from_utf8_lossy(&said).into_owned())
            };
            // The file still says fabrikam, which passes by it alone.
            let (code, text) = explain(user, contact);
            assert_eq!(code, Some(0), "{text}");
            assert!(text.contains("version 2 of the policy in the store"), "{text}");
            for (from, to, gate) in [
                (user, "juliet@fabrikam.example", "partner"),
                (contact, user, "contact-decision"),
                (user, "nobody@contoso.example", "home-user"),
            ] {
                let (code, text) = explain(from, to);
                assert_eq!(code, Some(77), "{text}");
                let is_refusal = |line: &str| line.contains("REFUSED") && line.contains(gate);
                assert!(text.lines().any(is_refusal), "{text}");
            }
            let checked = appliance.command(&["check"], "");
            let said = String::from_utf8_lossy(&checked.stdout);
            assert!(checked.status.success());
            assert!(said.contains("version 2 of the policy in the store: no errors"), "{said}");
        }
    });
}

#[test]
fn a_second_front_end_leaves_the_first_its_store() {
    let test = "configuration::resources::a_second_front_end_leaves_the_first_its_store";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "public-ca");
        let appliance = Setup::default().start(place, &ca);
        let ground = Ground::new(place);
        let texts = ["in use by another process"];
        assert_one_line(&ground.run(Document::Frontend), STORE, &texts);
        appliance.wait_until_ready();
        let listed = ground.command(Document::Frontend, &["user", "list"]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
    });
}

#[test]
fn a_command_without_a_front_end_says_where_it_looked() {
    let test = "configuration::resources::a_command_without_a_front_end_says_where_it_looked";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        let asked = ground.command(Document::Frontend, &["user", "list"]);
        let socket = ground.path("admin.socket");
        assert_one_line(&asked, UNAVAILABLE, &[&socket, "(admin.socket)"]);
    });
}

#[test]
fn health_says_whether_the_process_of_this_host_is_ready() {
    let test = "configuration::resources::health_says_whether_the_process_of_this_host_is_ready";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "public-ca");
        let mut appliance = Setup::default().start(place, &ca);
        let ask = |program, file| {
            let output = run_command(program, file, place.directory(), &["health"], "");
            let said = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&said).trim_end().to_owned())
        };
        let ready = (Some(0), "ready".to_owned());
        assert_eq!(ask("edge-proxy", "edge"), ready);
        assert_eq!(ask("frontend-gateway", "frontend"), ready);
        appliance.frontend().kill_9();
        let (code, said) = ask("frontend-gateway", "frontend");
        assert_eq!(code, UNAVAILABLE, "{said}");
        assert!(said.contains("127.0.0.4:9090 (internal.listen)"), "{said}");
        let waits = (UNAVAILABLE, "not ready: link: no front end is attached".to_owned());
        until("an edge that misses its front end", Deadline::after_s(10), || {
            let said = ask("edge-proxy", "edge");
            if said == waits { Ok(()) } else { Err(format!("{said:?}")) }
        });
    });
}
