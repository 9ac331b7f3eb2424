//! The account of a SIP user, as its server and its user agents know it.

/// One SIP account.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The user part of the address-of-record.
    pub user: &'a str,
    /// Its domain, which is also the realm.
    pub domain: &'a str,
    /// The password.
    pub password: &'a str,
}

impl Account<'_> {
    /// The address-of-record.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}
