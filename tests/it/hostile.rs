//! What hostile and broken peers get from the running processes, and that others notice nothing.

mod bidi;
mod certificates;
mod corpus;
mod delivery;
mod direct_tls;
mod edge_certificates;
mod edge_floods;
mod edge_rules;
mod estate;
mod false_edge;
mod false_next_hop;
mod floods;
mod link;
mod lying_dns;
mod negotiation_matrix;
mod next_hop;
mod server_choice;
mod short_streams;
mod sip_torture;
mod stopped_partner;
mod tls_scan;
mod wire;
mod xmpp_answers;
mod xmpp_established;
mod xmpp_initiating;
mod xmpp_receiving;
