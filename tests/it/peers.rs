//! The peers of the other tests, proven on each other alone.

mod baresip;
mod bulk;
mod linphonec;
mod namespace;
mod prosody_certified;
mod prosody_self_signed;
mod prosody_unrelated;
mod sip_domain;
mod sip_user;
mod sipp;
mod xmpp_pair;
mod xmpp_user;
