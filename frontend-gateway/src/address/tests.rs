//! The address table of the test data, and what it does not say.

use sip_proto::uri::Uri;
use xmpp_proto::jid::Jid;

use super::{AddressError, s2x_address, x2s_address};

const TABLE: &str = include_str!("../../../tests/vectors/address-map.tsv");

fn to_xmpp(uri: &str) -> Result<String, AddressError> {
    let uri = Uri::parse(uri).map_err(|_| AddressError::Undecodable)?;
    s2x_address(&uri).map(|jid| jid.to_string())
}

fn to_sip(jid: &str) -> Result<String, AddressError> {
    x2s_address(&Jid::parse(jid)?).map(|uri| uri.to_wire())
}

#[test]
fn every_row_of_the_table_holds() {
    let mut rows = 0;
    for line in TABLE.lines().skip(1) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap();
        let (direction, input, expected) = (column(), column(), column());
        let result = match direction {
            "sip>xmpp" => to_xmpp(input),
            "xmpp>sip" => to_sip(input),
            other => panic!("unknown direction {other}"),
        };
        match expected {
            "REJECT" => assert!(result.is_err(), "{input} became {result:?}"),
            // Policy: an address is a legal domainpart; no partner has one.
            "foo@192.0.2.1 or REJECT" => assert_eq!(result.unwrap(), "foo@192.0.2.1"),
            _ => assert_eq!(result.as_deref(), Ok(expected), "{input}"),
        }
        rows += 1;
    }
    assert!(rows >= 45, "only {rows} rows were read");
}

#[test]
fn a_user_part_of_any_ascii_characters_comes_back_from_the_other_side() {
    for first in (' '..='~').filter(|c| *c != ' ') {
        for second in [' ', '2', '\\', '%', '@', ':'] {
            for third in ['0', 'c', 'x'] {
                let user: String = ['a', first, second, third].iter().collect();
                let uri = Uri::sip(Some(&user), sip_proto::uri::Host::parse("a.example").unwrap());
                let jid = s2x_address(&uri).unwrap();
                let back = x2s_address(&jid).unwrap();
                let decoded = back.user_decoded().unwrap().unwrap().into_owned();
                assert_eq!(decoded, user.to_lowercase(), "{jid}");
            }
        }
    }
}

#[test]
fn a_refusal_says_what_is_wrong() {
    assert_eq!(to_xmpp("sips:a@b.example"), Err(AddressError::Sips));
    assert_eq!(to_xmpp("tel:+1555"), Err(AddressError::Scheme("tel".into())));
    assert_eq!(to_xmpp("sip:%C3%28@b.example"), Err(AddressError::Undecodable));
    assert!(matches!(to_xmpp("sip:%00@b.example"), Err(AddressError::NotAJid(_))));
}
