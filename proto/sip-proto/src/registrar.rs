//! The rules of a registrar over the bindings of one address-of-record (RFC 3261 s.10.3).

#[cfg(test)]
mod tests;

use crate::error::Malformed;
use crate::header::{Contact, Date, Expires, NameAddr};
use crate::message::{OutgoingResponse, Request};
use crate::refusal::{Hint, Refusal};
use crate::status::StatusCode;
use crate::uri::Uri;

/// Bounds of a registrar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrarLimits {
    /// Shortest registration, in seconds; at most 3600 has an effect.
    pub expires_seconds_min: u32,
    /// Registration without a wish, in seconds.
    pub expires_seconds_default: u32,
    /// Longest registration, in seconds.
    pub expires_seconds_max: u32,
    /// Bindings of one address-of-record.
    pub bindings_max: usize,
}

impl Default for RegistrarLimits {
    fn default() -> Self {
        Self {
            expires_seconds_min: 60,
            expires_seconds_default: 3600,
            expires_seconds_max: 7200,
            bindings_max: 10,
        }
    }
}

/// The canonical form of an address-of-record: the key of its bindings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressOfRecord {
    /// The user part with every escape decoded. It may hold any character, NUL too.
    pub user: String,
    /// The host in lower case.
    pub host: String,
}

/// One contact of an address-of-record, as plain data for a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The Contact value without its expires parameter.
    pub contact: String,
    /// The Call-ID of the request that set it.
    pub call_id: String,
    /// The CSeq number of the request that set it.
    pub sequence_number: u32,
    /// When it ends, in seconds since 1970.
    pub expires_at_unix_seconds: u64,
}

/// What a REGISTER leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// All bindings that are valid, in the order in which they were first made. They replace the
    /// stored ones in one step.
    pub bindings: Vec<Binding>,
    /// The contacts among them that this request has set.
    pub refreshed: Vec<String>,
}

impl AddressOfRecord {
    /// Makes the canonical form of a SIP or SIPS URI: parameters removed, escapes decoded.
    ///
    /// # Errors
    /// Fails for other schemes, for a URI without user, and when the decoded user is not UTF-8.
    pub fn of(uri: &Uri) -> Result<Self, Malformed> {
        let host = uri.host().filter(|_| uri.is_sip()).ok_or(Malformed("not a SIP URI"))?;
        let user = uri.user_decoded()?.ok_or(Malformed("the URI has no user part"))?;
        Ok(Self { user: user.into_owned(), host: host.to_string() })
    }
}

impl Binding {
    /// Returns the address.
    ///
    /// # Errors
    /// Fails when the stored text is damaged.
    pub fn address(&self) -> Result<NameAddr, Malformed> {
        NameAddr::parse(&self.contact)
    }
}

/// Applies a REGISTER, which the owner has authenticated and found to be for this
/// address-of-record, to its current bindings. Expired ones are dropped.
///
/// # Errors
/// Fails with the answer; then nothing has changed.
pub fn register(
    request: &Request,
    current: &[Binding],
    limits: &RegistrarLimits,
    unix_seconds: u64,
) -> Result<Registration, Refusal> {
    let valid = current.iter().filter(|binding| binding.expires_at_unix_seconds > unix_seconds);
    let mut registration =
        Registration { bindings: valid.cloned().collect(), refreshed: Vec::new() };
    let expires = request.headers().typed::<Expires>()?.map(|Expires(seconds)| seconds);
    match request.headers().typed::<Contact>()? {
        None => {}
        Some(Contact::Any) if expires == Some(0) => remove_all(request, &mut registration)?,
        Some(Contact::Any) => return Err(Refusal::bad_request("Star Without Expires 0")),
        Some(Contact::Addresses(addresses)) => {
            for address in addresses {
                let wanted = address.expires_seconds().or(expires);
                let seconds = choose_interval(wanted, limits)?;
                set(request, &mut registration, address, unix_seconds, seconds)?;
            }
        }
    }
    if registration.bindings.len() > limits.bindings_max {
        return Err(Refusal::with_reason(StatusCode::FORBIDDEN, "Too Many Contacts"));
    }
    Ok(registration)
}

/// Returns the 200 that lists all bindings with the time they have left.
#[must_use]
pub fn response(
    request: &Request,
    bindings: &[Binding],
    unix_seconds: u64,
    to_tag: &str,
) -> OutgoingResponse {
    let mut response = OutgoingResponse::to(request, StatusCode::OK, Some(to_tag));
    let addresses = bindings.iter().filter_map(|binding| {
        let left = binding.expires_at_unix_seconds.saturating_sub(unix_seconds);
        let mut address = binding.address().ok()?;
        address.parameters.set("expires", &left.to_string());
        Some(address)
    });
    let addresses: Vec<NameAddr> = addresses.collect();
    if !addresses.is_empty() {
        response.headers_mut().push(&Contact::Addresses(addresses));
    }
    response.headers_mut().push(&Date::from_unix_seconds(unix_seconds));
    response
}

fn choose_interval(wanted: Option<u32>, limits: &RegistrarLimits) -> Result<u32, Refusal> {
    bounded_interval(
        wanted.unwrap_or(limits.expires_seconds_default),
        limits.expires_seconds_min,
        limits.expires_seconds_max,
    )
}

/// Shortens an interval to the maximum, and refuses one that is too brief.
pub(crate) fn bounded_interval(wanted: u32, min: u32, max: u32) -> Result<u32, Refusal> {
    // RFC 3261 s.10.3 step 7: 423 only for 0 < interval < one hour, and below our minimum.
    if wanted > 0 && wanted < 3600 && wanted < min {
        return Err(Refusal::hinting(StatusCode::INTERVAL_TOO_BRIEF, Hint::MinExpires(min)));
    }
    Ok(wanted.min(max))
}

fn remove_all(request: &Request, registration: &mut Registration) -> Result<(), Refusal> {
    for binding in &registration.bindings {
        check_order(request, binding)?;
    }
    registration.bindings.clear();
    Ok(())
}

fn set(
    request: &Request,
    registration: &mut Registration,
    mut address: NameAddr,
    unix_seconds: u64,
    seconds: u32,
) -> Result<(), Refusal> {
    let position = registration.bindings.iter().position(|binding| {
        binding.address().is_ok_and(|known| known.uri().is_equivalent(address.uri()))
    });
    if let Some(binding) = position.and_then(|position| registration.bindings.get(position)) {
        // One request may name a contact twice, and then the last one counts.
        if !registration.refreshed.contains(&binding.contact) {
            check_order(request, binding)?;
        }
        registration.refreshed.retain(|contact| *contact != binding.contact);
    }
    if seconds == 0 {
        if let Some(position) = position {
            registration.bindings.remove(position);
        }
        return Ok(());
    }
    address.parameters.remove("expires");
    let contact = address.to_wire();
    registration.refreshed.push(contact.clone());
    let binding = Binding {
        contact,
        call_id: request.call_id().as_str().to_owned(),
        sequence_number: request.cseq().number,
        expires_at_unix_seconds: unix_seconds + u64::from(seconds),
    };
    match position.and_then(|position| registration.bindings.get_mut(position)) {
        Some(existing) => *existing = binding,
        None => registration.bindings.push(binding),
    }
    Ok(())
}

/// RFC 3261 s.10.3 steps 6 and 7: within one Call-ID only a higher CSeq changes a binding.
fn check_order(request: &Request, binding: &Binding) -> Result<(), Refusal> {
    let is_same_series = binding.call_id == request.call_id().as_str();
    if is_same_series && request.cseq().number <= binding.sequence_number {
        return Err(Refusal::with_reason(StatusCode::SERVER_INTERNAL_ERROR, "CSeq Out Of Order"));
    }
    Ok(())
}
