//! What a final response tells whoever sent the request, wherever the response came from.

use super::{OutgoingResponse, Response};
use crate::headers::Headers;
use crate::status::StatusCode;

/// A final response without what belongs to its way back: one that was received, or one that was
/// made in the same process.
#[derive(Clone, Copy, Debug)]
pub struct FinalResponse<'a> {
    /// The status code.
    pub status: StatusCode,
    /// The reason phrase, which may be empty and in any script.
    pub reason_phrase: &'a str,
    /// All header fields except Content-Length.
    pub headers: &'a Headers,
}

impl<'a> From<&'a Response> for FinalResponse<'a> {
    fn from(response: &'a Response) -> Self {
        Self {
            status: response.status(),
            reason_phrase: response.reason_phrase(),
            headers: response.headers(),
        }
    }
}

impl<'a> From<&'a OutgoingResponse> for FinalResponse<'a> {
    fn from(response: &'a OutgoingResponse) -> Self {
        Self {
            status: response.status(),
            reason_phrase: response.reason_phrase(),
            headers: response.headers(),
        }
    }
}
