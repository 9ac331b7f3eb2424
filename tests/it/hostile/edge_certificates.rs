//! Edges with certificates that open nothing: refused in TLS, recorded, shown, and no burden.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::appliance::{LINK_PORT, OWN_EDGE, Setup};
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::test_ca::{Leaf, TestCa, Usage};
use tests::wait::Deadline;

use super::estate::{Estate, PEER, POLICY};
use super::false_edge::{Deed, FalseEdge, greeting};

#[test]
fn an_edge_whose_certificate_is_not_an_edges_of_our_authority_is_refused_and_recorded() {
    let test = "hostile::edge_certificates::\
        an_edge_whose_certificate_is_not_an_edges_of_our_authority_is_refused_and_recorded";
    in_namespace(test, |place| {
        let addresses: [SocketAddrV4; 7] = std::array::from_fn(|index| {
            let last = 11 + u8::try_from(index).expect("there are few");
            SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), LINK_PORT)
        });
        let names = addresses.map(|address| address.to_string());
        let edges: Vec<&str> =
            [OWN_EDGE].into_iter().chain(names.iter().map(String::as_str)).collect();
        let setup = Setup { policy: POLICY, edges: &edges, ..Setup::default() };
        let mut estate = Estate::start_setup(place, PEER, &setup);
        let before = estate.look();

        let of_edge = Leaf::link("edge", "edge2");
        let other_ca = TestCa::new(place.directory(), "other-link-ca");
        let ours = estate.appliance.link_ca();
        let issue = |leaf: &Leaf, name: &str| ours.issue(leaf, name);
        let cases = [
            (issue(&Leaf::link("frontend", "frontend1"), "posing"), "gives no edge role"),
            (other_ca.issue(&of_edge, "foreign"), "UnknownIssuer"),
            (issue(&of_edge.clone().expired(), "expired"), "it expired on 2021-01-0"),
            (issue(&Leaf::server("edge2.example").usage(Usage::Both), "roleless"), "no edge role"),
            (
                issue(&of_edge.clone().uri("spiffe://isthmus/frontend/edge2"), "both"),
                "gives the edge role and another one",
            ),
            (of_edge.self_signed(place.directory(), "self-signed"), "UnknownIssuer"),
            (
                issue(&of_edge.clone().usage(Usage::Client), "client-only"),
                "it is for clientAuth only",
            ),
        ];
        let edges: Vec<(FalseEdge, &str, SocketAddrV4)> = cases
            .iter()
            .zip(addresses)
            .map(|((identity, reason), address)| {
                let edge = FalseEdge::start_as(identity, place.directory(), address);
                edge.tell(Deed::Send(vec![greeting()]));
                (edge, *reason, address)
            })
            .collect();
        // From here on the edges listen, which they did not when the front end came.
        let mark = estate.appliance.frontend().mark();
        for (edge, reason, address) in &edges {
            let frontend = estate.appliance.frontend();
            let words = format!("\"address\":\"{address}\"");
            let is_refusal = |line: &String| line.contains(&words) && line.contains(reason);
            tests::wait::until(reason, Deadline::after_s(60), || {
                let lines = frontend.lines_with(mark, "no link to the edge");
                match lines.iter().any(is_refusal) {
                    true => Ok(()),
                    false => Err(lines.join("\n")),
                }
            });
            assert!(!edge.has_seen_something(), "{reason}: the front end attached");
            let shown = estate.appliance.edges();
            let of_address = shown.iter().find(|line| line.contains(&address.to_string()));
            assert!(
                of_address
                    .is_some_and(|line| line.contains("not attached for") && line.contains(reason)),
                "{shown:?}"
            );
        }
        let counted = estate.appliance.frontend_counter("gateway_link_failures_total", "");
        assert!(counted >= edges.len() as f64, "{counted}");
        let attached = estate.appliance.frontend().lines_with(Mark::START, "attached to an edge");
        assert_eq!(attached.len(), 1, "{attached:?}");
        estate.assert_unharmed_since(&before);
        estate.reconnect_romeo();
        estate.exchange_texts();
    });
}
