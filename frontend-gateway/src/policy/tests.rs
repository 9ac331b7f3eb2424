//! The policy document and every gate.

use xmpp_proto::jid::Jid;

use super::document::parse;
use super::{Direction, Gate, Policy, Question, Refusal, Standing, Subject};
use crate::testing::with_option;

mod traffic;

const DOCUMENT: &str = r#"
[[local_domain]]
domain = "contoso.example"

[[xmpp_partner]]
domain = "fabrikam.example"
additional_domains = ["sales.fabrikam.example"]
partner_type = "federated"

[[xmpp_partner]]
domain = "public.example"
partner_type = "public-unverified"

[[site]]
name = "lab"
users = ["lee@contoso.example"]

[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true

[[external_access_policy]]
scope = "site"
name = "lab"
federation_access = true

[[external_access_policy]]
scope = "user"
name = "nothing"
users = ["ned@contoso.example"]
"#;

fn policy() -> Policy {
    let (policy, diagnostics) = parse(DOCUMENT);
    assert_eq!(diagnostics, []);
    policy.unwrap()
}

#[test]
fn a_partner_may_send_what_its_record_says_and_something_in_any_case() {
    let with = |rate: &str| {
        let federated = "partner_type = \"federated\"";
        let text = DOCUMENT.replacen(federated, &format!("{federated}\nrate = {{ {rate} }}"), 1);
        let (policy, found) = parse(&text);
        let rate = policy.and_then(|it| it.partners.first().map(|partner| partner.rate));
        let found: Vec<_> = found.into_iter().map(|it| it.message).collect();
        rate.map(|it| (it.stanzas_per_s, it.bytes_per_s)).ok_or_else(|| found.join("\n"))
    };
    assert_eq!(with(""), Ok((200, 1024 * 1024)));
    assert_eq!(with("stanzas_per_s = 5000"), Ok((5_000, 1024 * 1024)));
    assert_eq!(with("bytes_per_s = 1024"), Ok((200, 1_024)));
    for refused in ["stanzas_per_s = 0", "bytes_per_s = 0", "stanzas_per_s = 1000001"] {
        assert!(with(refused).is_err(), "{refused}");
    }
}

fn decide(
    user: &str,
    contact: &str,
    direction: Direction,
    subject: Subject,
    standing: Standing,
) -> Option<Gate> {
    let (user, contact) = (Jid::parse(user).unwrap(), Jid::parse(contact).unwrap());
    let question = Question { user: &user, contact: &contact, direction, subject, standing };
    let policy = policy();
    let refusal = policy.decide(&question).err();
    let explained = policy.explain(&question);
    let last = explained.last().unwrap();
    assert_eq!(last.result.clone().err(), refusal, "explain says what decide does");
    assert!(refusal.is_some() || explained.len() == Gate::ALL.len());
    refusal.map(|refusal| refusal.gate())
}

fn message(user: &str, contact: &str, direction: Direction) -> Option<Gate> {
    decide(user, contact, direction, Subject::Message, Standing::Unknown)
}

#[test]
fn partners_reach_local_users_and_back() {
    for direction in [Direction::X2s, Direction::S2x] {
        for contact in ["juliet@fabrikam.example", "j@sales.fabrikam.example"] {
            assert_eq!(message("romeo@contoso.example", contact, direction), None);
        }
    }
}

#[test]
fn each_gate_refuses_by_its_own_name() {
    let refused = |user, contact| message(user, contact, Direction::X2s);
    let juliet = "juliet@fabrikam.example";
    assert_eq!(refused("romeo@elsewhere.example", juliet), Some(Gate::LocalDomain));
    assert_eq!(refused("romeo@contoso.example", "x@evilfabrikam.example"), Some(Gate::Partner));
    assert_eq!(refused("romeo@contoso.example", "x@hr.fabrikam.example"), Some(Gate::Partner));
    assert_eq!(refused("ned@contoso.example", juliet), Some(Gate::FederationAccess));
    assert_eq!(refused("lee@contoso.example", juliet), Some(Gate::XmppAccess));
    assert_eq!(refused("romeo@contoso.example", "p@public.example"), Some(Gate::PartnerType));
    let denied = decide(
        "romeo@contoso.example",
        juliet,
        Direction::X2s,
        Subject::Presence,
        Standing::Denied,
    );
    assert_eq!(denied, Some(Gate::ContactDecision));
}

#[test]
fn an_unverified_contact_may_ask_for_presence_and_may_write_once_it_is_added() {
    let with = |direction, subject, standing| {
        decide("romeo@contoso.example", "p@public.example", direction, subject, standing)
    };
    let x2s = Direction::X2s;
    assert_eq!(with(x2s, Subject::Presence, Standing::Unknown), None);
    assert_eq!(with(x2s, Subject::Message, Standing::Allowed), None);
    assert_eq!(with(Direction::S2x, Subject::Message, Standing::Unknown), None);
    assert_eq!(with(Direction::S2x, Subject::Message, Standing::Denied), None);
}

#[test]
fn without_any_access_policy_nothing_is_allowed() {
    let (document, _) = DOCUMENT.split_once("[[site]]").unwrap();
    let (policy, diagnostics) = parse(document);
    assert!(diagnostics.iter().any(|found| found.message.contains("scope \"global\"")));
    let user = Jid::parse("romeo@contoso.example").unwrap();
    let contact = Jid::parse("juliet@fabrikam.example").unwrap();
    let question = Question {
        user: &user,
        contact: &contact,
        direction: Direction::X2s,
        subject: Subject::Message,
        standing: Standing::Unknown,
    };
    let refusal = policy.unwrap().decide(&question).unwrap_err();
    assert!(matches!(refusal, Refusal::NoFederationAccess { .. }));
    let remedy = refusal.remedy(Jid::clone);
    assert!(remedy.contains("no external access policy"), "{remedy}");
    let denied = Refusal::Denied { user: user.clone(), contact: contact.clone() };
    for refusal in [denied, Refusal::NotAContact { user, contact }] {
        let remedy = refusal.remedy(|user| user.domain().to_string());
        assert!(remedy.contains("allow contoso.example fabrikam.example"), "{remedy}");
        assert!(!remedy.contains('@'), "the log may not name users: {remedy}");
    }
}

pub(super) fn errors(document: &str) -> Vec<String> {
    let (policy, diagnostics) = parse(document);
    assert_eq!(policy, None, "{document}");
    diagnostics
        .into_iter()
        .filter(|found| found.severity == host::config::Severity::Error)
        .map(|found| format!("{}:{}: {}", found.line, found.column, found.message))
        .collect()
}

#[test]
fn all_errors_of_a_document_are_reported_at_once() {
    let document = r#"[[local_domain]]
domain = "contoso.example"
served_by = "elsewhere"

[[xmpp_partner]]
domain = "contoso.example"
partner_type = "friend"

[[xmpp_partner]]
domain = "fabrikam.example"
partner_type = "federated"
sasl_negotiation = "not-supported"
dialback_negotiation = false
connection_limits = 3
"#;
    let errors = errors(document);
    assert_eq!(errors.len(), 5, "{errors:#?}");
    for (line, part) in [
        (3, "`served_by`"),
        (6, "already a local domain"),
        (7, "\"friend\""),
        (13, "row 14"),
        (14, "did you mean `connection_limit`?"),
    ] {
        let found = errors.iter().any(|e| e.starts_with(&format!("{line}:")) && e.contains(part));
        assert!(found, "{line}: {part} is not in {errors:#?}");
    }
}

// lync.md 1.5: of the 18 rows, 6, 12, 14, 16 and 18 are invalid.
#[test]
fn the_five_invalid_rows_of_the_negotiation_matrix_are_refused_by_number() {
    let words = ["required", "optional", "not-supported"];
    let mut row = 0_u8;
    for sasl in words {
        for tls in words {
            for dialback in [true, false] {
                row += 1;
                let document = format!(
                    "[[local_domain]]\ndomain = 'a.example'\n[[xmpp_partner]]\n\
                     domain = 'b.example'\npartner_type = 'federated'\n\
                     tls_negotiation = '{tls}'\nsasl_negotiation = '{sasl}'\n\
                     dialback_negotiation = {dialback}\n"
                );
                let (policy, diagnostics) = parse(&document);
                let invalid =
                    diagnostics.iter().any(|it| it.message.contains(&format!("row {row} ")));
                assert_eq!(
                    invalid,
                    [6, 12, 14, 16, 18].contains(&row),
                    "row {row}: {diagnostics:?}"
                );
                assert_eq!(policy.is_some(), !invalid, "row {row}");
                if let Some(policy) = policy {
                    assert_eq!(policy.partners[0].terms.row(), row);
                    let warned = |key: &str| diagnostics.iter().any(|it| it.message.contains(key));
                    assert_eq!(warned("TLS is not required"), tls != "required", "row {row}");
                }
            }
        }
    }
    assert_eq!(row, 18);
}

#[test]
fn a_partner_type_that_is_left_out_is_the_strictest_and_warned_of() {
    let document =
        "[[local_domain]]\ndomain = 'a.example'\n[[xmpp_partner]]\ndomain = 'b.example'\n";
    let (policy, diagnostics) = parse(document);
    let partner = &policy.unwrap().partners[0];
    assert!(!partner.partner_type.is_approved_at_once());
    assert_eq!(partner.terms.row(), 7);
    assert!(
        diagnostics.iter().any(|found| found.line == 3 && found.message.contains("partner_type"))
    );
}

const NEXT_HOPS: &str = r#"
[[local_domain]]
domain = "contoso.example"
served_by = "pool"

[[next_hop]]
name = "pool"
certificate_name = "sip.contoso.example"
congestion_safe = true
[[next_hop.server]]
address = "sip1.contoso.example:5061"
[[next_hop.server]]
address = "[2001:db8::7]:5061"
priority = 1

[[xmpp_partner]]
domain = "public.example"
partner_type = "public-unverified"

[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true
"#;

/// The same pool over TCP.
fn over_tcp() -> String {
    NEXT_HOPS
        .replace("certificate_name = \"sip.contoso.example\"", "transport = \"tcp\"")
        .replace("sip1.contoso.example:5061", "192.0.2.7:5060")
        .replace("congestion_safe = true", "trusted_addresses = [\"192.0.2.9\"]")
}

#[test]
fn a_next_hop_is_known_by_its_certificate_or_by_its_addresses_alone() {
    let pool = |text: &str| parse(text).0.unwrap().next_hops.pop_first().unwrap().1;
    let (tls, tcp) = (pool(NEXT_HOPS), pool(&over_tcp()));
    let name = |name: &str| vec![name.to_owned()];
    for (address, names, by_tls, by_tcp) in [
        ("192.0.2.7", Vec::new(), false, true),
        ("192.0.2.9", Vec::new(), false, true),
        ("2001:db8::7", Vec::new(), false, true),
        ("192.0.2.8", name("sip.contoso.example"), true, false),
        ("192.0.2.8", name("contoso.example"), false, false),
        ("192.0.2.8", name("x.sip.contoso.example"), false, false),
    ] {
        let address = address.parse().unwrap();
        assert_eq!((tls.is_at(address, &names), tcp.is_at(address, &names)), (by_tls, by_tcp));
    }
    assert_eq!((tls.message_bytes_max(65_536), tcp.message_bytes_max(65_536)), (65_536, 1_300));
}

#[test]
fn what_is_wrong_with_a_next_hop_is_said_where_it_stands() {
    let tcp = over_tcp();
    for (document, old, new, expected) in [
        (NEXT_HOPS, "served_by = \"pool\"", "served_by = \"poll\"", "4:13: `served_by`"),
        (NEXT_HOPS, "name = \"pool\"", "name = \"home\"", "7:8: \"home\" cannot be"),
        (NEXT_HOPS, "certificate_name", "#", "`certificate_name` must say"),
        (NEXT_HOPS, "congestion_safe = true", "trusted_addresses = []", "9:21: with transport"),
        (NEXT_HOPS, "sip1.contoso.example:5061", "sip1.contoso.example", "is not `host:port`"),
        (NEXT_HOPS, "sip1.contoso.example", "[2001:db8::7]", "two servers have the same"),
        (&tcp, "192.0.2.7:", "sip1.contoso.example:", "must be an address"),
        (&tcp, "trusted_addresses", "certificate_name = \"a.example\"\n#", "no certificates"),
    ] {
        let document = document.replacen(old, new, 1);
        let errors = errors(&document);
        assert!(errors.iter().any(|it| it.contains(expected)), "{expected}: {errors:#?}");
    }
    let (twice, _) = NEXT_HOPS.split_once("[[xmpp_partner]]").unwrap();
    let (_, again) = twice.split_once("[[next_hop]]").unwrap();
    let errors = errors(&format!("{twice}[[next_hop]]{again}"));
    assert!(errors.iter().any(|it| it.contains("cannot be the name of another")), "{errors:#?}");
    let unused = NEXT_HOPS.replace("served_by = \"pool\"", "");
    let (policy, warnings) = parse(&unused);
    assert!(policy.is_some() && warnings.iter().any(|it| it.message.contains("is served by")));
}

// Whether the server of the next hop would ask its user is not known.
#[test]
fn an_unverified_contact_waits_for_a_user_of_a_next_hop_to_add_it() {
    let (user, contact) = ("romeo@contoso.example", "p@public.example");
    let (user, contact) = (Jid::parse(user).unwrap(), Jid::parse(contact).unwrap());
    let policy = parse(NEXT_HOPS).0.unwrap();
    let refused = |standing| {
        let (direction, subject) = (Direction::X2s, Subject::Presence);
        let question = Question { user: &user, contact: &contact, direction, subject, standing };
        policy.decide(&question).err().map(|refusal| refusal.gate())
    };
    assert_eq!(refused(Standing::Unknown), Some(Gate::PartnerType));
    assert_eq!(refused(Standing::Allowed), None);
}

#[test]
fn the_annotated_policy_is_right() {
    const ANNOTATED: &str = include_str!("../../../deploy/config/policy.toml");
    let (policy, diagnostics) = parse(ANNOTATED);
    assert_eq!(diagnostics, []);
    assert!(policy.is_some());
    let (policy, diagnostics) = parse(&with_option(ANNOTATED, "[[xmpp_exception]]"));
    assert_eq!(diagnostics, []);
    assert_eq!(policy.map(|policy| policy.exceptions.len()), Some(1));
    let served = ANNOTATED.replace("served_by = \"home\"", "served_by = \"pool\"");
    let over_tls = with_option(&served, "[[next_hop]]").replace("trusted_addresses = []", "");
    let (policy, diagnostics) = parse(&over_tls);
    assert_eq!(diagnostics, []);
    let pool = &policy.unwrap().next_hops["pool"];
    // What stands there as the default is it.
    let (terse, _) = parse(&NEXT_HOPS.replace("congestion_safe = true", ""));
    let terse = &terse.unwrap().next_hops["pool"];
    assert_eq!(
        (pool.probe_interval_s, pool.is_congestion_safe, &pool.servers[0]),
        (terse.probe_interval_s, terse.is_congestion_safe, &terse.servers[0])
    );
}
