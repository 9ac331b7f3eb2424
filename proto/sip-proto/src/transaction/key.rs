//! Which transaction a request belongs to (RFC 3261 s.17.2.3).

use compact_str::CompactString;

use super::FlowId;
use crate::header::{MAGIC_COOKIE, SentBy, TypedHeader};
use crate::message::Request;
use crate::method::Method;

/// What identifies a server transaction.
///
/// The flow is part of it: a response goes where its request came from and nowhere else, so that
/// nobody can fetch the response to a request of somebody else by repeating its branch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerKey {
    flow: FlowId,
    method: Method,
    matching: Matching,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matching {
    /// A branch with the magic cookie, unique across space and time.
    Branch { branch: CompactString, sent_by: SentBy },
    /// The header fields that identify a transaction of an RFC 2543 element. The To tag is not
    /// among them, since an ACK carries that of the response.
    Fields { uri: String, from_tag: String, call_id: String, sequence_number: u32, via: String },
}

impl ServerKey {
    /// Returns the key of the transaction that a request creates or repeats.
    pub(super) fn of(request: &Request, flow: FlowId) -> Self {
        Self::with_method(request, flow, request.method().clone())
    }

    /// Returns the key of the INVITE that an ACK or a CANCEL belongs to.
    pub(super) fn of_invite(request: &Request, flow: FlowId) -> Self {
        Self::with_method(request, flow, Method::Invite)
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    fn with_method(request: &Request, flow: FlowId, method: Method) -> Self {
        let via = request.via();
        let matching = match via.branch() {
            Some(branch) if branch.starts_with(MAGIC_COOKIE) => {
                Matching::Branch { branch: branch.into(), sent_by: via.sent_by().clone() }
            }
            _ => {
                let mut text = String::new();
                via.write(&mut text);
                Matching::Fields {
                    uri: request.uri().to_wire(),
                    from_tag: request.from().tag().unwrap_or_default().to_owned(),
                    call_id: request.call_id().as_str().to_owned(),
                    sequence_number: request.cseq().number,
                    via: text,
                }
            }
        };
        Self { flow, method, matching }
    }
}
