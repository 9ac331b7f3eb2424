//! Home users and how they prove who they are: digest authentication, by user and algorithm.

use std::collections::BTreeMap;

use sip_proto::Method;
use sip_proto::auth::{Algorithm, Authenticator, Challenge, Credentials, Ha1, Verdict};
use sip_proto::message::Request;
use xmpp_proto::jid::Jid;

use crate::address::x2s_address;
use crate::clock::Now;
use crate::store::record::User;

/// The shortest password that is taken, in characters.
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

/// Why a user cannot be added. The administrator must change the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The address names no user that SIP can carry.
    #[error("the address is not one that a SIP user can have")]
    Address,
    /// The password is too short.
    #[error("the password is shorter than {PASSWORD_CHARACTERS_MIN} characters")]
    PasswordTooShort,
}

/// Who a request is from.
#[derive(Debug)]
pub enum Authentication {
    /// The credentials are those of the user.
    Proven,
    /// There are none, or they are old: the sender is challenged.
    Challenge(Vec<Challenge>),
    /// They are wrong.
    Refused,
}

/// All home users.
pub struct Accounts {
    users: BTreeMap<Jid, Account>,
    authenticator: Authenticator,
}

#[derive(Debug)]
struct Account {
    hashes: Vec<Ha1>,
}

impl Accounts {
    /// Restores the users that the store holds; a record that cannot be read is left out.
    pub fn restore(records: &[User], secret: [u8; 32]) -> Self {
        let users = records.iter().filter_map(|record| {
            let address = Jid::parse(&record.address).ok()?;
            Some((address, Account::restore(record)))
        });
        let authenticator = Authenticator::new(secret, Default::default());
        Self { users: users.collect(), authenticator }
    }

    /// Returns whether the home has a user.
    pub fn has(&self, address: &Jid) -> bool {
        self.users.contains_key(address)
    }

    /// Returns all users with their algorithms.
    pub fn all(&self) -> impl Iterator<Item = (&Jid, Vec<Algorithm>)> {
        self.users.iter().map(|(address, account)| (address, account.algorithms()))
    }

    /// Adds a user or gives it another password; a record that cannot be read changes nothing.
    pub fn insert(&mut self, record: &User) {
        if let Ok(address) = Jid::parse(&record.address) {
            self.users.insert(address, Account::restore(record));
        }
    }

    /// Removes a user; returns whether there was one.
    pub fn remove(&mut self, address: &Jid) -> bool {
        self.users.remove(address).is_some()
    }

    /// Checks the credentials of a request that says it is from `address`.
    ///
    /// A user that does not exist is challenged like any other, and refused like one with a
    /// wrong password.
    pub fn authenticate(&mut self, request: &Request, address: &Jid, now: Now) -> Authentication {
        let realm = address.domain().to_ascii();
        let rows = request.headers().readable_rows::<Credentials>();
        let mut credentials = rows.filter(|credentials| credentials.realm() == realm).peekable();
        if credentials.peek().is_none() {
            return self.challenge(&realm, address, false, now);
        }
        let name = user_name(address);
        let seconds = now.unix_ms / 1000;
        for credentials in credentials {
            if Some(credentials.user_name()) != name.as_deref() {
                continue;
            }
            let hash = self.users.get(address).and_then(|it| it.hash(credentials.algorithm()));
            let Some(hash) = hash else { continue };
            match self.authenticator.verify(&credentials, hash, request.method(), seconds) {
                Verdict::Accepted => return Authentication::Proven,
                Verdict::Stale => return self.challenge(&realm, address, true, now),
                Verdict::Refused => {}
            }
        }
        Authentication::Refused
    }

    fn challenge(&mut self, realm: &str, address: &Jid, stale: bool, now: Now) -> Authentication {
        let algorithms = match self.users.get(address) {
            Some(account) => account.algorithms(),
            None => vec![Algorithm::Sha256, Algorithm::Md5],
        };
        let seconds = now.unix_ms / 1000;
        let challenges = self.authenticator.challenge(realm, &algorithms, stale, seconds);
        Authentication::Challenge(challenges)
    }
}

impl Account {
    fn restore(record: &User) -> Self {
        let hashes = [(Algorithm::Sha256, &record.sha256), (Algorithm::Md5, &record.md5)];
        let hashes = hashes.into_iter().filter_map(|(algorithm, text)| {
            Ha1::from_hexadecimal(algorithm, text.as_deref()?).ok()
        });
        Self { hashes: hashes.collect() }
    }

    fn hash(&self, algorithm: Algorithm) -> Option<&Ha1> {
        self.hashes.iter().find(|hash| hash.algorithm() == algorithm)
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        self.hashes.iter().map(Ha1::algorithm).collect()
    }
}

/// Makes the record of a user; the password itself is not in it.
///
/// # Errors
/// Fails when the address or the password will not do.
pub fn record(address: &Jid, password: &str, legacy: bool) -> Result<User, AccountError> {
    if password.chars().count() < PASSWORD_CHARACTERS_MIN {
        return Err(AccountError::PasswordTooShort);
    }
    let name = user_name(address).ok_or(AccountError::Address)?;
    let realm = address.domain().to_ascii();
    let hash =
        |algorithm| Ha1::compute(algorithm, &name, &realm, password).as_hexadecimal().to_owned();
    Ok(User {
        address: address.to_string(),
        md5: Some(hash(Algorithm::Md5)),
        sha256: (!legacy).then(|| hash(Algorithm::Sha256)),
    })
}

/// Returns the name by which a user authenticates: the user part of its SIP address.
fn user_name(address: &Jid) -> Option<String> {
    let uri = x2s_address(address).ok()?;
    let user = uri.user_decoded().ok()??;
    Some(user.into_owned())
}

/// Says whether a method can be used without proof by anybody.
///
/// OPTIONS asks what the server can do, and changes nothing.
pub fn is_open(method: &Method) -> bool {
    *method == Method::Options
}

#[cfg(test)]
mod tests;
