//! Errors in the text of a file: each with its line and column, all of them at once.

use tests::appliance::{Appliance, OPEN_POLICY, Setup};
use tests::namespace::in_namespace;
use tests::test_ca::TestCa;

use super::ground::{Document, Ended, Ground};

/// The exit code of a configuration that is wrong.
const CONFIGURATION: Option<i32> = Some(78);

/// A document with something wrong, and where which error is.
struct Case {
    document: Document,
    changes: &'static [(&'static str, &'static str)],
    errors: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        document: Document::Edge,
        changes: &[("system_trust =", "system_trusts =")],
        errors: &["6:1: error: unknown key `xmpp.system_trusts`; did you mean `system_trust`?"],
    },
    Case {
        document: Document::Edge,
        changes: &[("[resolver]", "[name_resolution]")],
        errors: &["14:2: error: unknown key `name_resolution`"],
    },
    Case {
        document: Document::Edge,
        changes: &[("system_trust = false", "system_trust = \"no\"")],
        errors: &["6:16: error: `system_trust` must be true or false, not a string"],
    },
    Case {
        document: Document::Edge,
        changes: &[("listen = \"127.0.0.3:23456\"\n", "")],
        errors: &["7:1: error: `listen` is missing in `link`"],
    },
    Case {
        document: Document::Edge,
        changes: &[("lookup_ms_max = 1000", "lookup_ms_max = 99")],
        errors: &["16:17: error: `lookup_ms_max` is 99; it must be between 100 and 60000"],
    },
    Case {
        document: Document::Edge,
        changes: &[("\"127.0.0.3:9090\"", "\"localhost\"")],
        errors: &["13:10: error: `listen` must be an address with a port, such as \
                   \"192.0.2.1:5269\", not \"localhost\""],
    },
    Case {
        document: Document::Edge,
        changes: &[("[\"127.0.0.3:5269\"]", "[]")],
        errors: &["2:10: error: `listen` needs at least one address"],
    },
    Case {
        document: Document::Edge,
        changes: &[
            ("[\"127.0.0.3:5269\"]", "\"127.0.0.3:5269\""),
            ("key = \"DIR/edge-link.key\"\n", ""),
            ("level = \"error\"", "level = \"loud\"\nform = 1"),
        ],
        errors: &[
            "2:10: error: `listen` must be an array, not a string",
            "7:1: error: `key` is missing in `link`",
            "17:9: error: `level` is \"loud\"; it must be \"error\" or \"warn\" or \"info\" or \
             \"debug\" or \"trace\"",
            "18:1: error: unknown key `log.form`; did you mean `format`?",
        ],
    },
    Case {
        document: Document::Frontend,
        changes: &[("edges = [\"127.0.0.3:23456\"]", "edges = [\"127.0.0.3\"]")],
        errors: &["2:9: error: \"127.0.0.3\" is not `host:port`"],
    },
    Case {
        document: Document::Frontend,
        changes: &[("\"sip.contoso.example\"", "\"sip contoso\"")],
        errors: &["7:8: error: \"sip contoso\" is neither a host name nor an address"],
    },
    Case {
        document: Document::Frontend,
        changes: &[("certificate = \"DIR/home.pem\"\nkey = \"DIR/home.key\"\n", "")],
        errors: &["6:1: error: `listen_tls` needs `certificate` and `key`"],
    },
    Case {
        document: Document::Frontend,
        changes: &[
            ("[store]\nfile = \"DIR/store.sqlite\"\n", ""),
            ("connections_max = 100", "connections_max = 0"),
            ("[admin]\nsocket = ", "[admin]\nsockets = "),
        ],
        errors: &[
            "1:1: error: `file` is missing in `store`",
            "12:19: error: `connections_max` is 0; it must be between 1 and 1000000",
            "15:1: error: `socket` is missing in `admin`",
            "16:1: error: unknown key `admin.sockets`; did you mean `socket`?",
        ],
    },
    Case {
        document: Document::Frontend,
        changes: &[(
            "[store]",
            "[inside]\nname = \"10.0.0.1\"\nlisten_tls = \"10.0.0.1:5071\"\n[store]",
        )],
        errors: &["13:1: error: `listen_tls` needs `certificate`, `key` and `trust`"],
    },
    Case {
        document: Document::Frontend,
        changes: &[("[store]", "[inside]\nname = \"10.0.0.1\"\n[store]")],
        errors: &["13:1: error: `listen` or `listen_tls` needs an address"],
    },
    Case {
        document: Document::Policy,
        changes: &[("\"fabrikam.example\"", "\"fabrikam..example\"")],
        errors: &["4:10: error: `domain` must be a domain name, not \"fabrikam..example\": "],
    },
    Case {
        document: Document::Policy,
        changes: &[("\"fabrikam.example\"", "\"Contoso.example\"")],
        errors: &["4:10: error: contoso.example is already a local domain"],
    },
    Case {
        document: Document::Policy,
        changes: &[
            ("domain = \"contoso.example\"", "domain = 3"),
            ("\"federated\"", "\"friend\""),
            ("xmpp_access = true", "xmpp_acces = true"),
        ],
        errors: &[
            "2:10: error: `domain` must be a string, not a whole number",
            "5:16: error: `partner_type` is \"friend\"; it must be \"federated\" or \
             \"public-verified\" or \"public-unverified\"",
            "9:1: error: unknown key `external_access_policy.xmpp_acces`; did you mean \
             `xmpp_access`?",
        ],
    },
];

#[test]
fn every_error_of_a_document_is_said_once_with_its_place() {
    let test = "configuration::errors::every_error_of_a_document_is_said_once_with_its_place";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        for case in CASES {
            ground.break_with(case.document, case.changes);
            let file = match case.document {
                Document::Edge => "edge.toml",
                Document::Frontend => "frontend.toml",
                Document::Policy => "policy.toml",
            };
            let checked = ground.check(case.document);
            assert_eq!(checked.code, CONFIGURATION, "{checked:?}");
            assert_errors(&checked, &ground.path(file), case.errors);
            assert_eq!(ground.run(case.document), checked);
            ground.mend(case.document);
        }
        for document in [Document::Edge, Document::Frontend] {
            let right = ground.check(document);
            assert_eq!(right.code, Some(0), "{right:?}");
            assert!(right.lines.iter().all(|line| line.ends_with(": no errors")), "{right:?}");
        }
    });
}

/// Asserts that these errors, and no others, were said of the file, in this order.
fn assert_errors(ended: &Ended, path: &str, errors: &[&str]) {
    let expected: Vec<String> = errors.iter().map(|error| format!("{path}:{error}")).collect();
    let is_said = |(line, error): (&String, &String)| {
        // What a library says of a value follows a colon.
        line == error || (error.ends_with(": ") && line.starts_with(error))
    };
    let all = ended.lines.len() == expected.len() && ended.lines.iter().zip(&expected).all(is_said);
    assert!(all, "{:#?}\nbut expected\n{expected:#?}", ended.lines);
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_place() {
    let test = "configuration::errors::text_that_is_no_toml_is_refused_with_its_place";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        ground.break_with(Document::Edge, &[("system_trust = false", "system_trust = ")]);
        let checked = ground.check(Document::Edge);
        assert_eq!(checked.code, CONFIGURATION, "{checked:?}");
        let place_of_error = format!("{}:6:", ground.path("edge.toml"));
        assert!(checked.lines.iter().all(|line| line.starts_with(&place_of_error)), "{checked:?}");
        assert!(!checked.lines.is_empty());
        assert_eq!(ground.run(Document::Edge), checked);
    });
}

#[test]
fn a_policy_that_would_not_do_is_refused_before_anybody_is_asked() {
    let test =
        "configuration::errors::a_policy_that_would_not_do_is_refused_before_anybody_is_asked";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        let offline = ["explain", "--offline", "a@contoso.example", "b@nowhere.example"];
        let refused = ground.command(Document::Frontend, &offline);
        assert_eq!(refused.code, Some(77), "{refused:?}");
        ground.break_with(Document::Policy, &[("\"federated\"", "\"friend\"")]);
        let wrong = ground.command(Document::Frontend, &offline);
        assert_eq!(wrong.code, CONFIGURATION, "{wrong:?}");
        for document in [Document::Edge, Document::Frontend] {
            for arguments in [["walk"].as_slice(), &["run", "--fast"], &[]] {
                let usage = ground.command(document, arguments);
                assert_eq!(usage.code, Some(64), "{arguments:?}: {usage:?}");
            }
        }
    });
}

#[test]
fn a_warning_is_shown_and_refuses_nothing() {
    let test = "configuration::errors::a_warning_is_shown_and_refuses_nothing";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        ground.break_with(Document::Policy, &[("partner_type = \"federated\"\n", "")]);
        let checked = ground.check(Document::Policy);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let warning = format!("{}:3:1: warning: ", ground.path("policy.toml"));
        let warnings = checked.lines.iter().filter(|line| line.starts_with(&warning)).count();
        assert_eq!((warnings, checked.lines.len()), (1, 2), "{checked:?}");
    });
}

#[test]
fn a_running_front_end_refuses_a_wrong_policy_whole() {
    let test = "configuration::errors::a_running_front_end_refuses_a_wrong_policy_whole";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "public-ca");
        let appliance = Setup::default().start(place, &ca);
        let (from, to) = ("romeo@contoso.example", "juliet@litware.example");
        let explain = |appliance: &Appliance| appliance.explain(from, to).1;
        let before = explain(&appliance);
        let right = OPEN_POLICY.replace("fabrikam", "litware");
        let wrong = right.replace("federation_access", "federation_acces");
        let path = place.write("new.toml", &wrong);
        let file = path.to_str().expect("the test's directory is UTF-8");

        for action in ["plan", "apply"] {
            let output = appliance.command(&[action, file], "");
            assert_eq!(output.status.code(), CONFIGURATION);
            let said = String::from_utf8_lossy(&output.stderr);
            let error = "error: unknown key `external_access_policy.federation_acces`; did you \
                         mean `federation_access`?";
            assert!(said.contains(error) && said.contains(&format!("{file}:12:1: ")), "{said}");
        }
        assert_eq!(explain(&appliance), before);
        place.write("new.toml", &right);
        assert_eq!(appliance.command(&["apply", file], "").status.code(), Some(0));
        assert_ne!(explain(&appliance), before);
    });
}
