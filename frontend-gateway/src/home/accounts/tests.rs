//! What is kept of a user, and what is never kept.

use sip_proto::auth::Algorithm;

use super::{AccountError, Accounts, record};
use crate::testing::jid;

#[test]
fn a_record_has_a_hash_for_each_algorithm_and_not_the_password() {
    let address = jid("romeo@example.net");
    let user = record(&address, "correct horse", false).unwrap();
    assert_eq!(user.address, "romeo@example.net");
    // By md5sum and sha256sum of `romeo:example.net:correct horse`.
    assert_eq!(user.md5.as_deref(), Some("d4e5271c5032c8d4908748c202f16fca"));
    assert_eq!(
        user.sha256.as_deref(),
        Some("a683b6672c7896e49d623cc647b29a4d337008784fce5a252af80125e4ca5987")
    );
    let legacy = record(&address, "correct horse", true).unwrap();
    assert_eq!((legacy.md5, legacy.sha256), (user.md5, None));
}

#[test]
fn an_address_without_a_user_or_a_password_that_is_too_short_is_refused() {
    let romeo = jid("romeo@example.net");
    assert_eq!(record(&romeo, "1234567", false).unwrap_err(), AccountError::PasswordTooShort);
    assert_eq!(
        record(&romeo, "éééééééé", false).map(|it| it.address).unwrap(),
        "romeo@example.net"
    );
    assert_eq!(record(&jid("example.net"), "12345678", false).unwrap_err(), AccountError::Address);
}

#[test]
fn another_password_takes_the_place_of_the_first_and_a_damaged_record_changes_nothing() {
    let romeo = jid("romeo@example.net");
    let mut user = record(&romeo, "correct horse", false).unwrap();
    let mut accounts = Accounts::restore(&[user.clone()], [1; 32]);
    let algorithms = |accounts: &Accounts| accounts.all().next().unwrap().1;
    assert_eq!(algorithms(&accounts), [Algorithm::Sha256, Algorithm::Md5]);
    accounts.insert(&record(&romeo, "battery staple", true).unwrap());
    assert_eq!(algorithms(&accounts), [Algorithm::Md5]);
    user.address = "@".into();
    accounts.insert(&user);
    assert_eq!(accounts.all().count(), 1);
    assert!(accounts.remove(&romeo) && !accounts.remove(&romeo));
    assert!(!accounts.has(&romeo));
}
