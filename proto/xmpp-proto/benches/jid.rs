//! What one core pays to read, to copy and to print the addresses of a stanza.

use divan::{Bencher, black_box};
use xmpp_proto::jid::{Domain, Jid};

fn main() {
    divan::main();
}

/// As most addresses are, one that has to be prepared, and one that needs the tables.
const ADDRESSES: [&str; 3] = [
    "juliet@capulet.example/balcony-4711",
    "Juliet@Capulet.Example/balcony-4711",
    "Juli\u{E9}t@caf\u{E9}.example/b\u{E4}lcony",
];

#[divan::bench(args = ADDRESSES)]
fn parse(address: &str) -> Option<Jid> {
    Jid::parse(black_box(address)).ok()
}

#[divan::bench]
fn copy_the_bare(bencher: Bencher<'_, '_>) {
    let jid = Jid::parse(ADDRESSES[0]).expect("the address is one");
    bencher.bench(|| (black_box(&jid).clone(), black_box(&jid).bare()));
}

#[divan::bench]
fn print(bencher: Bencher<'_, '_>) {
    let jid = Jid::parse(ADDRESSES[0]).expect("the address is one");
    bencher.bench(|| black_box(&jid).to_string());
}

#[divan::bench(args = ["capulet.example", "caf\u{E9}.example"])]
fn to_ascii(bencher: Bencher<'_, '_>, name: &str) {
    let domain = Domain::parse(name).expect("the domain is one");
    bencher.bench(|| black_box(&domain).to_ascii().len());
}
