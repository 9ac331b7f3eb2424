//! What another process holds, or what cannot be opened: ports, sockets, the store.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::test_ca::TestCa;

use super::ground::{Document, Ended, Ground};

/// The exit code of something that is not to be had.
const UNAVAILABLE: Option<i32> = Some(69);
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
fn a_store_that_cannot_be_used_is_named() {
    let test = "configuration::resources::a_store_that_cannot_be_used_is_named";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        let store = ground.path("store.sqlite");
        fs::write(&store, "no database ".repeat(100)).expect("it can be written");
        assert_one_line(&ground.run(Document::Frontend), STORE, &["store"]);
        fs::remove_file(&store).expect("it is there");
        fs::create_dir(&store).expect("the name is free");
        let texts = ["cannot open the store", store.as_str()];
        assert_one_line(&ground.run(Document::Frontend), STORE, &texts);
        fs::remove_dir(&store).expect("it is empty");
        let nowhere = [("DIR/store.sqlite", "DIR/nowhere/store.sqlite")];
        ground.break_with(Document::Frontend, &nowhere);
        let texts = ["cannot open the store", "nowhere/store.sqlite"];
        assert_one_line(&ground.run(Document::Frontend), STORE, &texts);
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
