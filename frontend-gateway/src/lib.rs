//! The front-end gateway.

pub mod address;
pub mod administrator;
pub mod cert;
pub mod clock;
pub mod commit;
pub mod config;
pub mod contacts;
pub mod core;
pub mod deadlines;
pub mod denial;
pub mod dialback_secrets;
pub mod dialog_record;
pub mod driver;
pub mod edges;
pub mod exchange;
pub mod facts;
pub mod flows;
pub mod forward;
pub mod framing;
pub mod gateway;
pub mod home;
pub mod journal;
pub mod link;
pub mod links;
pub mod next_hops;
pub mod notice;
pub mod pidf;
pub mod policy;
pub mod provision;
pub mod run;
pub mod store;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod translate;
