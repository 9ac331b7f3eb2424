//! Every row of both tables, with its notes.

use sip_proto::StatusCode;
use sip_proto::uri::Uri;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};

use super::{s2x_error, x2s_error};

const TO_XMPP: &str = include_str!("../../../../tests/vectors/errors-sip-to-xmpp.tsv");
const TO_SIP: &str = include_str!("../../../../tests/vectors/errors-xmpp-to-sip.tsv");

fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap()
}

#[test]
fn every_sip_code_of_the_table_has_its_condition() {
    let uri = Uri::parse("sip:new@contoso.example").unwrap();
    let mut rows = 0;
    for line in TO_XMPP.lines().skip(1) {
        let (code, expected) = line.split_once('\t').unwrap();
        // An unlisted code of each class stands for the class.
        let code: u16 = code.replace("xx", "99").parse().unwrap();
        let contact = (code < 400).then_some(&uri);
        let error = s2x_error(status(code), "", contact);
        let condition = expected.split(' ').next().unwrap();
        assert_eq!(error.condition.name(), condition, "{code}");
        assert_eq!(error.text.as_deref(), Some(status(code).reason_phrase()), "{code}");
        let must_have_address = expected.contains("with new address");
        let must_not = expected.contains("MUST NOT carry");
        assert!(!must_have_address || error.address.is_some(), "{code}");
        assert!(!must_not || s2x_error(status(code), "", Some(&uri)).address.is_none(), "{code}");
        rows += 1;
    }
    assert_eq!(rows, 52);
}

#[test]
fn every_condition_of_the_table_has_its_sip_code() {
    let mut rows = 0;
    for line in TO_SIP.lines().skip(1) {
        let mut columns = line.split('\t');
        let condition = StanzaCondition::of_name(columns.next().unwrap()).unwrap();
        let expected = columns.next().unwrap();
        let code = |full, address: Option<&str>| {
            let error =
                StanzaError { address: address.map(str::to_owned), ..StanzaError::new(condition) };
            x2s_error(&error, full).status.code()
        };
        let listed: Vec<u16> = expected
            .split(|c: char| !c.is_ascii_digit())
            .filter(|digits| digits.len() == 3)
            .map(|digits| digits.parse().unwrap())
            .collect();
        let address = Some("xmpp:new@fabrikam.example");
        match (condition, listed.as_slice()) {
            // 401 and 407 need a challenge that we cannot give: the note says 403.
            (StanzaCondition::NotAuthorized | StanzaCondition::RegistrationRequired, _) => {
                assert_eq!((code(true, None), code(false, None)), (403, 403), "{expected}");
            }
            (StanzaCondition::Gone, [with, without]) => {
                assert_eq!((code(true, address), code(true, None)), (*with, *without));
            }
            (StanzaCondition::Redirect, [with]) => assert_eq!(code(false, address), *with),
            (_, [full, bare]) if expected.contains("full") => {
                assert_eq!((code(true, None), code(false, None)), (*full, *bare), "{expected}");
            }
            (_, alternatives) => {
                assert!(alternatives.contains(&code(true, None)), "{condition}: {expected}");
                assert_eq!(code(true, None), code(false, None));
            }
        }
        rows += 1;
    }
    assert_eq!(rows, 22);
}

#[test]
fn a_new_address_goes_over_in_the_form_of_the_other_side() {
    let uri = Uri::parse("sip:o'malley@contoso.example").unwrap();
    let error = s2x_error(status(301), "Moved", Some(&uri));
    assert_eq!(error.address.as_deref(), Some("xmpp:o%5C27malley@contoso.example"));
    let back = x2s_error(&error, false);
    assert_eq!(back.contact.unwrap().to_wire(), "sip:o'malley@contoso.example");
}

#[test]
fn words_go_over_in_one_line() {
    let error = s2x_error(status(404), "No <such>\r\nRoute: x\u{7} user", None);
    assert_eq!(error.text.as_deref(), Some("No <such> Route: x user"));
    let failure = x2s_error(&error.with_text("a\r\nVia: b".to_owned()), false);
    assert_eq!(failure.reason_phrase, "a Via: b");
    let long = s2x_error(status(500), &"ü".repeat(1000), None).text.unwrap();
    assert_eq!(long.chars().count(), 200);
}
