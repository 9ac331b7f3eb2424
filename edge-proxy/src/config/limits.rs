//! Reads `[xmpp.limits]`: what peers may do before they have proven a domain.

use host::config::{Read, Recorded, Table};

use crate::xmpp::addresses::AddressLimits;
use crate::xmpp::network::Network;

/// Reads the table.
pub(super) fn read(table: &mut Table<'_, '_>) -> Read<AddressLimits> {
    let default = AddressLimits::default();
    let mut number = |key, range, default: u32| {
        let number: Read<u64> = table.number(key, range, default.into());
        number.map(|it| u32::try_from(it).unwrap_or(u32::MAX))
    };
    let unproven_max = number("unproven_per_address", 1..=10_000, default.unproven_max);
    let new_per_minute = number("new_per_minute_per_address", 1..=100_000, default.new_per_minute);
    let handshakes_per_s =
        number("handshakes_per_s_per_address", 1..=10_000, default.handshakes_per_s);
    let records_per_minute =
        number("records_per_minute_per_address", 1..=100_000, default.records_per_minute);
    let handshakes_per_s_in_all =
        number("handshakes_per_s", 1..=100_000, default.handshakes_per_s_in_all);
    let addresses_max = number("addresses", 64..=1_000_000, default.addresses_max);
    let exempt: Read<Vec<String>> = table.or("exempt", Vec::new());
    let exempt = exempt?.iter().map(|text| network(table, text)).collect::<Read<_>>();
    Ok(AddressLimits {
        unproven_max: unproven_max?,
        new_per_minute: new_per_minute?,
        handshakes_per_s: handshakes_per_s?,
        records_per_minute: records_per_minute?,
        exempt: exempt?,
        handshakes_per_s_in_all: handshakes_per_s_in_all?,
        addresses_max: addresses_max?,
    })
}

fn network(table: &Table<'_, '_>, text: &str) -> Result<Network, Recorded> {
    text.parse()
        .map_err(|wrong| table.error("exempt", format!("`exempt` has {text}, which {wrong}")))
}
