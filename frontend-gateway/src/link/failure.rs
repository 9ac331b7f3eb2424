//! Why there is no link to an edge.

use std::error::Error;
use std::io;

use rustls::CertificateError;

#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the edge refused: {0}")]
    Refused(#[from] tonic::Status),
    #[error("the edge ended the link before its first frame")]
    NoFrame,
    #[error("the edge sent no frame in time")]
    Silent,
    #[error("the edge takes no frames")]
    Stalled,
    #[error("the edge {0} is attached already by another address")]
    Taken(String),
    #[error("the gateway is stopping")]
    Stopped,
}

impl LinkError {
    /// Returns what lies behind an error: tonic says of every one that a transport has failed.
    pub(super) fn root_cause(&self) -> Option<String> {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        causes.last().map(|root| refused_certificate(root).unwrap_or_else(|| root.to_string()))
    }

    /// Returns the error with what lies behind it, for a person.
    pub(super) fn describe(&self) -> String {
        match (self, self.root_cause()) {
            (Self::Connect(_), Some(cause)) => format!("cannot connect: {cause}"),
            (Self::Refused(status), Some(cause)) => format!("{}: {cause}", status.message()),
            (Self::Refused(status), None) => status.message().to_owned(),
            (_, Some(cause)) => format!("{self}: {cause}"),
            (_, None) => self.to_string(),
        }
    }
}

/// Returns why a certificate was refused, which rustls itself says in words for a programmer.
fn refused_certificate(error: &(dyn Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(reason)) => {
            Some(format!("the edge is refused: {}", reason.0))
        }
        _ => None,
    }
}
