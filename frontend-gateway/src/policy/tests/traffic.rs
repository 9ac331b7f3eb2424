//! What may cross with a partner, and what its profile sets and warns of.

use host::config::Severity;
use xmpp_proto::jid::Jid;

use crate::policy::document::parse;
use crate::policy::{Direction, Gate, Policy, Question, Standing, Subject, XmppPartner};

const X2S: Direction = Direction::X2s;
const S2X: Direction = Direction::S2x;

/// A policy with these lines in the partner's record, and these behind it.
fn document(record: &str, rest: &str) -> String {
    format!(
        "[[local_domain]]\ndomain = 'contoso.example'\n\
         [[xmpp_partner]]\ndomain = 'fabrikam.example'\npartner_type = 'federated'\n\
         additional_domains = ['eu.fabrikam.example', 'notfabrikam.example']\n{record}\n\
         [[external_access_policy]]\nscope = 'global'\nfederation_access = true\n\
         xmpp_access = true\n{rest}\n"
    )
}

fn policy(record: &str, rest: &str) -> Policy {
    parse(&document(record, rest)).0.unwrap()
}

/// The gate that refuses, asked of the code that decides and of the code that explains.
fn refused(policy: &Policy, domain: &str, direction: Direction, subject: Subject) -> Option<Gate> {
    let user = Jid::parse("romeo@contoso.example").unwrap();
    let contact = Jid::parse(&format!("juliet@{domain}")).unwrap();
    let standing = Standing::Unknown;
    let question = Question { user: &user, contact: &contact, direction, subject, standing };
    let refusal = policy.decide(&question).err();
    let explained = policy.explain(&question).pop().unwrap().result.err();
    assert_eq!(explained, refusal);
    if let Some(refusal) = &refusal {
        let remedy = refusal.remedy(Jid::clone);
        assert!(remedy.contains(domain) || remedy.contains("fabrikam.example"), "{remedy}");
        assert!(refusal.to_string().contains(domain), "{refusal}");
    }
    refusal.map(|refusal| refusal.gate())
}

/// Whether messages from and to the domain pass, and presence asked for by it and of it.
fn passes(policy: &Policy, domain: &str) -> [bool; 4] {
    [
        (X2S, Subject::Message),
        (S2X, Subject::Message),
        (X2S, Subject::Presence),
        (S2X, Subject::Presence),
    ]
    .map(|(direction, subject)| match refused(policy, domain, direction, subject) {
        None => true,
        Some(gate) => {
            assert_eq!(gate, Gate::Traffic);
            false
        }
    })
}

#[test]
fn a_partners_direction_and_kinds_hold_for_what_is_asked_and_what_answers_it() {
    for (record, expected) in [
        ("", [true, true, true, true]),
        ("direction = 'both'", [true, true, true, true]),
        ("direction = 'incoming'", [true, false, false, false]),
        ("direction = 'outgoing'", [false, true, false, false]),
        ("kinds = ['message', 'presence']", [true, true, true, true]),
        ("kinds = ['message']", [true, true, false, false]),
        ("kinds = ['presence']", [false, false, true, true]),
    ] {
        assert_eq!(passes(&policy(record, ""), "fabrikam.example"), expected, "{record}");
    }
}

#[test]
fn an_exception_takes_away_and_a_wildcard_covers_the_domain_and_what_is_below() {
    let exception = |domain: &str, direction: &str| {
        let direction = match direction {
            "" => String::new(),
            word => format!("direction = '{word}'\n"),
        };
        let exception = format!("[[xmpp_exception]]\ndomain = '{domain}'\naction = 'deny'\n");
        policy("", &format!("{exception}{direction}"))
    };
    let (all, none) = ([true; 4], [false; 4]);
    for (policy, at_domain, below, beside) in [
        (exception("*.fabrikam.example", ""), none, none, all),
        (exception("fabrikam.example", ""), none, all, all),
        (exception("eu.fabrikam.example", ""), all, none, all),
        (exception("*.eu.fabrikam.example", "outgoing"), all, [true, false, false, false], all),
        (
            exception("*.fabrikam.example", "incoming"),
            [false, true, false, false],
            [false, true, false, false],
            all,
        ),
    ] {
        assert_eq!(passes(&policy, "fabrikam.example"), at_domain);
        assert_eq!(passes(&policy, "eu.fabrikam.example"), below);
        assert_eq!(passes(&policy, "notfabrikam.example"), beside);
    }
    let gate = refused(&exception("x.example", ""), "x.example", X2S, Subject::Message);
    assert_eq!(gate, Some(Gate::Partner), "an exception lets nobody in");
}

#[test]
fn rules_of_traffic_that_say_nothing_are_refused_where_they_stand() {
    let exception = "[[xmpp_exception]]\ndomain = 'x.example'\n";
    for (record, rest, expected) in [
        ("kinds = []", "", "7:9: `kinds` lists nothing"),
        ("kinds = ['typing']", "", "`kinds` holds \"typing\""),
        ("direction = 'in'", "", "7:13: `direction` is \"in\""),
        ("profile = 'openfire'", "", "7:11: `profile` is \"openfire\""),
        ("", exception, "`action` is missing"),
        ("", "[[xmpp_exception]]\ndomain = 'x.example'\naction = 'allow'", "must be \"deny\""),
        (
            "",
            "[[xmpp_exception]]\ndomain = 'a.*.example'\naction = 'deny'",
            "must be a domain name",
        ),
        ("", "[[xmpp_exception]]\ndomain = '*'\naction = 'deny'", "must be a domain name"),
        (
            "",
            "[[xmpp_exception]]\ndomain = '*.*.example'\naction = 'deny'",
            "must be a domain name",
        ),
    ] {
        let (policy, diagnostics) = parse(&document(record, rest));
        let told: Vec<String> = diagnostics
            .iter()
            .filter(|it| it.severity == Severity::Error)
            .map(|it| format!("{}:{}: {}", it.line, it.column, it.message))
            .collect();
        assert!(policy.is_none() && told.iter().any(|it| it.contains(expected)), "{told:#?}");
    }
}

fn partner(record: &str) -> (XmppPartner, Vec<String>) {
    let (policy, warnings) = parse(&document(record, ""));
    let warnings = warnings.into_iter().map(|it| format!("{}: {}", it.line, it.message)).collect();
    (policy.unwrap().partners.pop().unwrap(), warnings)
}

#[test]
fn a_profile_sets_what_the_record_leaves_out() {
    for (profile, row, keep_alive, warned) in [
        ("generic", 7, true, 0),
        ("webex", 7, true, 0),
        ("sametime", 2, true, 0),
        ("cisco", 13, true, 0),
        // That TLS is not required is said of every partner.
        ("google-talk", 17, false, 1),
    ] {
        let (partner, warnings) = partner(&format!("profile = '{profile}'"));
        assert_eq!((partner.terms.row(), partner.keep_alive), (row, keep_alive), "{profile}");
        assert_eq!(warnings.len(), warned, "{profile}: {warnings:?}");
        assert_eq!(partner.profile.word(), profile);
    }
}

#[test]
fn a_key_that_contradicts_the_profile_counts_and_is_warned_of() {
    for (profile, key, row, is_warned) in [
        ("generic", "sasl_negotiation = 'required'", 1, false),
        ("webex", "sasl_negotiation = 'required'", 1, true),
        ("webex", "sasl_negotiation = 'not-supported'", 13, false),
        ("webex", "dialback_negotiation = false", 8, true),
        ("sametime", "tls_negotiation = 'optional'", 4, true),
        ("sametime", "sasl_negotiation = 'optional'", 8, true),
        ("cisco", "sasl_negotiation = 'optional'", 7, true),
        ("cisco", "tls_negotiation = 'optional'", 15, false),
        ("google-talk", "tls_negotiation = 'required'", 13, true),
        ("google-talk", "keep_alive = true", 17, true),
    ] {
        let (partner, warnings) = partner(&format!("profile = '{profile}'\n{key}"));
        assert_eq!(partner.terms.row(), row, "{profile} {key}");
        let contradiction = format!("8: contradicts profile \"{profile}\"");
        let warned = warnings.iter().any(|it| it.starts_with(&contradiction));
        assert_eq!(warned, is_warned, "{profile} {key}: {warnings:?}");
    }
}
