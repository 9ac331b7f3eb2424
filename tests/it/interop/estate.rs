//! The appliance with a partner for each cell, and the message that crosses in a cell.

use std::net::Ipv4Addr;

use tests::account::Account;
use tests::appliance::{Appliance, EDGE, Setup};
use tests::contoso::ROMEO;
use tests::dns::{Dns, Records};
use tests::namespace::Place;
use tests::process::Mark;
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::{Leaf, TestCa};
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

use super::cell::{
    Cell, DIRECT_LOCAL, Method, Opener, Proof, STARTTLS_LOCAL, Security, Server, Trial,
};

/// The user of every domain of every server.
pub(super) const USER: &str = "juliet";
/// Her password.
pub(super) const PASSWORD: &str = "juliet-secret";

/// How long a message may take, in seconds: a stream has to be opened for it.
const CROSSING_S_MAX: u64 = 30;

pub(super) struct Estate {
    pub(super) appliance: Appliance,
    pub(super) ca: TestCa,
    server: &'static Server,
    starttls_romeo: SipUser,
    direct_romeo: SipUser,
    _dns: Dns,
}

/// What our certificate says, but for its usages.
pub(super) fn public_leaf() -> Leaf {
    Leaf::server(STARTTLS_LOCAL).dns(DIRECT_LOCAL)
}

impl Estate {
    /// Starts everything but the partner's server; `address` is where that has the domain of a
    /// cell.
    pub(super) fn start(
        place: &Place,
        server: &'static Server,
        address: impl Fn(&Cell) -> Ipv4Addr,
    ) -> Self {
        let ca = TestCa::new(place.directory(), "ca");
        let ours =
            Records::new().xmpp_server(STARTTLS_LOCAL, EDGE).direct_tls_server(DIRECT_LOCAL, EDGE);
        let publish = |records, Trial { wanted, .. }: &Trial| {
            server.publish(records, wanted, address(wanted))
        };
        let dns = Dns::start(place, &server.trials().iter().fold(ours, publish));
        let policy = format!(
            "[[local_domain]]\ndomain = \"{STARTTLS_LOCAL}\"\n\
             [[local_domain]]\ndomain = \"{DIRECT_LOCAL}\"\n\
             [[external_access_policy]]\nscope = \"global\"\n\
             federation_access = true\nxmpp_access = true\n{}",
            server.partners()
        );
        let public = Some(public_leaf());
        let setup = Setup { policy: &policy, public, has_direct_tls: true, ..Setup::default() };
        let appliance = setup.start(place, &ca);
        let romeo = |domain| {
            let account = Account { domain, ..ROMEO };
            appliance.add_user(&account);
            let mut romeo = SipUser::start(place, &account);
            romeo.connect(appliance.sip(), Transport::Tcp);
            assert_eq!(romeo.register(3600).status, 200);
            romeo
        };
        let (starttls_romeo, direct_romeo) = (romeo(STARTTLS_LOCAL), romeo(DIRECT_LOCAL));
        Self { appliance, ca, server, starttls_romeo, direct_romeo, _dns: dns }
    }

    /// Has a message cross as a trial says, from the side that connects, and on a stream that goes
    /// both ways an answer; verifies that it came so. `address` is the server's.
    pub(super) fn cross(&mut self, place: &Place, trial: &Trial, address: Ipv4Addr) {
        let Trial { wanted, outcome: cell } = trial;
        let domain = self.server.domain_of(wanted);
        let jid = format!("{USER}@{domain}");
        let mut juliet = XmppUser::connect(place, &jid, PASSWORD, address);
        juliet.be_available();
        let romeo = if cell.method.1 == Security::Direct {
            &mut self.direct_romeo
        } else {
            &mut self.starttls_romeo
        };
        let romeo_jid = format!("{}@{}", ROMEO.user, cell.local());
        let first = cell.opener;
        let answer = match first {
            Opener::We => Opener::They,
            Opener::They => Opener::We,
        };
        let senders = [Some(first), cell.has_bidi.then_some(answer)];
        for sender in senders.into_iter().flatten() {
            let deadline = Deadline::after_s(CROSSING_S_MAX);
            let text = format!("{sender:?} to {domain}");
            match sender {
                Opener::We => {
                    let status = romeo.say(&format!("sip:{jid}"), &text).status;
                    assert!(status == 200 || status == 202, "{domain}: {status}");
                    juliet.expect_message(&text, deadline, |message| {
                        message.is_from(&romeo_jid) && message.body.as_deref() == Some(&text)
                    });
                }
                Opener::They => {
                    juliet.say(&romeo_jid, &text);
                    romeo.expect_text(&text, deadline);
                }
            }
        }
        self.verify(cell, &domain);
        juliet.close();
    }

    /// Verifies by what the appliance says of itself that the stream was as the cell has it.
    fn verify(&mut self, cell: &Cell, domain: &str) {
        let Method(proof, tls) = cell.method;
        let is_dialback = proof == Proof::Dialback;
        let opener = match cell.opener {
            Opener::We => "outbound",
            Opener::They => "inbound",
        };
        let proof = match proof {
            Proof::External(_) => "SASL EXTERNAL",
            Proof::Dialback => "dialback",
        };
        let tls = match tls {
            Security::Clear => "no TLS\t",
            Security::StartTls => "TLS 1.",
            Security::Direct => "direct TLS 1.",
        };
        let ways = if cell.has_bidi { ", both ways" } else { "" };
        let begin = format!("  {opener}{ways}\t{}\t{domain}\t{proof}\t{tls}", cell.local());
        let of_domain = format!("\t{domain}\t");
        until(&format!("the stream: {begin}"), Deadline::after_s(20), || {
            let mut shown = self.appliance.edges();
            shown.retain(|line| line.contains(&of_domain));
            let is_shown = shown.iter().any(|line| line.starts_with(&begin));
            // The answer came over the same stream; but keys are verified over another connection
            // (XEP-0288 s.2.2), of which the server may make a stream of its own.
            let is_alone = !cell.has_bidi || is_dialback || shown.len() == 1;
            if is_shown && is_alone { Ok(()) } else { Err(shown.join("\n")) }
        });
        if cell.opener == Opener::We {
            let confirmation = if cell.has_acks { "Acknowledgements" } else { "Barriers" };
            let opened = "a stream to the partner is open";
            let partner = format!("\"{domain}\"");
            let mut opened = self.appliance.edge().lines_with(Mark::START, opened);
            opened.retain(|line| line.contains(&partner));
            let right = opened.iter().any(|line| line.contains(confirmation));
            assert!(right, "{domain}: {confirmation} was to confirm: {opened:?}");
        }
    }
}
