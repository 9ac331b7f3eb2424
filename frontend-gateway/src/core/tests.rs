//! Commands and explanations: they say what the home and the policy then do.

use sip_proto::header::SentBy;
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::Host;

use super::administration::{Command, Outcome, Reply};
use super::explanation::explain_offline;
use super::{Core, CoreEffect, CoreSettings, StartPolicy};
use crate::contacts::DECISIONS_PER_USER_MAX;
use crate::gateway::GatewaySettings;
use crate::home::message_store::MessageLimits;
use crate::home::{Ends, HomeSettings, accounts};
use crate::next_hops::{self, NextHopSettings};
use crate::provision::Provision;
use crate::store::record::{Binding, ContactDecision};
use crate::store::{Loaded, Write};
use crate::testing::{self, BEGIN_MS, Clock, Ledger, jid};

const ROMEO: &str = "romeo@example.net";
const PARIS: &str = "paris@example.net";
const JULIET: &str = "juliet@example.com";

/// What the store does with commits.
#[derive(Clone, Copy, PartialEq)]
enum Store {
    Confirms,
    Holds,
    Fails,
}

struct Stage {
    core: Core,
    clock: Clock,
    store: Store,
    commits: Vec<(u64, Vec<Write>)>,
    replies: Vec<Reply>,
}

/// Begins with the users romeo and paris.
fn ledger() -> Ledger {
    let users = [ROMEO, PARIS].map(|address| {
        let user = accounts::record(&jid(address), "correct horse", false);
        Write::PutUser(user.unwrap())
    });
    Ledger { writes: users.to_vec() }
}

fn binding(user: &str) -> Write {
    Write::PutBinding(Binding {
        aor: user.to_owned(),
        contact: format!("<sip:{user}:5070>").replace("example.net", "192.0.2.1"),
        call_id: "c".into(),
        cseq: 1,
        expires_ms: BEGIN_MS + 3_600_000,
    })
}

fn home_settings(per_user_max: usize) -> HomeSettings {
    let sent_by = SentBy { host: Host::parse("home.example.net").unwrap(), port: None };
    HomeSettings { sent_by, messages: MessageLimits { per_user_max, ..MessageLimits::default() } }
}

impl Stage {
    fn new(ledger: &Ledger, per_user_max: usize) -> Self {
        let clock = Clock::new();
        let policy = testing::policy(testing::POLICY);
        let policy = StartPolicy { version: 1, policy, to_store: None };
        let home = home_settings(per_user_max);
        let host = home.sent_by.host.clone();
        let settings = CoreSettings {
            gateway: GatewaySettings::new(home.sent_by.clone()),
            home,
            next_hops: NextHopSettings { host, tcp_port: Some(5070), tls_port: None },
            provision: Provision { home: true, tcp: true, tls: false },
        };
        let loaded = ledger.load(clock.now);
        let seeds = [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32]];
        let core = Core::restore(loaded, policy, settings, Default::default(), seeds, clock.now);
        let mut stage =
            Self { core, clock, store: Store::Confirms, commits: Vec::new(), replies: Vec::new() };
        stage.collect();
        stage
    }

    fn collect(&mut self) {
        loop {
            if let Some((id, writes)) = self.core.poll_commit() {
                match self.store {
                    Store::Confirms => self.core.handle_commit(id, Ok(()), self.clock.now),
                    Store::Fails => self.core.handle_commit(id, Err(writes), self.clock.now),
                    Store::Holds => self.commits.push((id, writes)),
                }
            } else if let Some(effect) = self.core.poll_effect() {
                if let CoreEffect::Reply(_, reply) = effect {
                    self.replies.push(reply);
                }
            } else {
                return;
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.core.handle_command(1, command, self.clock.now);
        self.collect();
    }

    fn ask(&mut self, command: Command) -> Reply {
        self.command(command);
        self.reply()
    }

    fn decide(&mut self, user: &str, contact: &str, allowed: bool) {
        let (user, contact) = (user.to_owned(), contact.to_owned());
        self.command(Command::UserDecide { user, contact, allowed });
    }

    fn reply(&mut self) -> Reply {
        assert_eq!(self.replies.len(), 1, "{:?}", self.replies);
        self.replies.remove(0)
    }

    /// Says whether everything passes, and the lines of the gates.
    fn explained(&mut self, from: &str, to: &str) -> (bool, String) {
        let explanation = self.core.explain(&jid(from), &jid(to), self.clock.now);
        (explanation.passes, explanation.text)
    }
}

/// Returns whether a line with these words says that something is refused.
fn refuses(text: &str, words: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("REFUSED ") && line.contains(words))
}

#[test]
fn a_user_whose_connection_is_lost_is_explained_by_what_the_message_store_would_do() {
    let mut bound = ledger();
    bound.writes.push(binding(ROMEO));
    for (ledger, per_user_max, passes, words) in [
        (&bound, 0, false, "is registered, but has no open connection; a sender would be told: "),
        (&bound, 9, true, "is registered, but has no open connection; messages are kept"),
        (&ledger(), 0, false, "is away; a sender would be told: "),
        (&ledger(), 9, true, "is away; messages are kept"),
    ] {
        let mut stage = Stage::new(ledger, per_user_max);
        let (verdict, text) = stage.explained(PARIS, ROMEO);
        assert_eq!(verdict, passes, "{text}");
        assert!(text.contains(words), "{text}");
        assert_eq!(refuses(&text, "home-store"), !passes);
    }
}

#[test]
fn of_two_users_here_the_one_who_is_seen_decides_with_and_without_a_front_end() {
    for denied in [false, true] {
        let mut writes = ledger();
        if denied {
            writes.writes.push(Write::PutContact(ContactDecision {
                user: ROMEO.into(),
                contact: PARIS.into(),
                allowed: false,
            }));
        }
        let mut stage = Stage::new(&writes, 9);
        let (passes, text) = stage.explained(PARIS, ROMEO);
        assert_eq!(passes, !denied, "{text}");
        assert_eq!(refuses(&text, "contact-decision"), denied, "{text}");
        assert!(stage.explained(ROMEO, PARIS).0, "paris has denied nobody");

        let loaded = writes.load(stage.clock.now);
        let policy = testing::policy(testing::POLICY);
        let stored = Some((loaded, home_settings(9)));
        let offline = explain_offline(&policy, stored, &jid(PARIS), &jid(ROMEO), stage.clock.now);
        assert_eq!(offline.text, text);
        assert_eq!(offline.passes, passes);
    }
}

#[test]
fn without_a_front_end_the_store_says_who_is_a_user_and_what_was_decided() {
    let now = Clock::new().now;
    let policy = testing::policy(testing::POLICY);
    let explain = |stored: Option<Loaded>, from: &str, to: &str| {
        let stored = stored.map(|loaded| (loaded, home_settings(9)));
        explain_offline(&policy, stored, &jid(from), &jid(to), now)
    };
    let new = explain(None, JULIET, ROMEO);
    assert!(new.passes && new.text.contains("no store yet"), "{}", new.text);
    let nobody = explain(Some(ledger().load(now)), JULIET, "nobody@example.net");
    assert!(!nobody.passes && refuses(&nobody.text, "home-user"), "{}", nobody.text);
    let known = explain(Some(ledger().load(now)), JULIET, ROMEO);
    assert!(known.passes, "no edge is asked for: {}", known.text);
    let mut denying = ledger();
    let (user, contact) = (ROMEO.into(), JULIET.into());
    denying.writes.push(Write::PutContact(ContactDecision { user, contact, allowed: false }));
    let denied = explain(Some(denying.load(now)), JULIET, ROMEO);
    assert!(!denied.passes && refuses(&denied.text, "contact-decision"), "{}", denied.text);
}

#[test]
fn a_decision_counts_once_it_is_stored_and_not_before() {
    let mut stage = Stage::new(&ledger(), 9);
    let denies = |stage: &mut Stage| refuses(&stage.explained(JULIET, ROMEO).1, "contact-decision");
    stage.store = Store::Fails;
    stage.decide(ROMEO, JULIET, false);
    assert_eq!(stage.reply().outcome, Outcome::NotStored);
    assert!(!denies(&mut stage));

    stage.store = Store::Holds;
    stage.decide(ROMEO, JULIET, false);
    assert!(!denies(&mut stage) && stage.replies.is_empty(), "it may still fail");
    for (id, _) in std::mem::take(&mut stage.commits) {
        stage.core.handle_commit(id, Ok(()), stage.clock.now);
    }
    stage.collect();
    assert_eq!(stage.reply().outcome, Outcome::Done);
    assert!(denies(&mut stage));

    stage.decide(ROMEO, JULIET, false);
    assert_eq!(stage.reply().text, "nothing changes");
}

#[test]
fn a_decision_that_does_not_fit_is_refused_and_one_that_is_known_may_change() {
    let mut full = ledger();
    for number in 0..DECISIONS_PER_USER_MAX {
        let contact = format!("{number}@example.com");
        full.writes.push(Write::PutContact(ContactDecision {
            user: ROMEO.into(),
            contact,
            allowed: true,
        }));
    }
    let mut stage = Stage::new(&full, 9);
    stage.decide(ROMEO, JULIET, false);
    let reply = stage.reply();
    assert_eq!(reply.outcome, Outcome::Refused);
    assert!(reply.text.contains(&DECISIONS_PER_USER_MAX.to_string()), "{}", reply.text);
    assert!(stage.explained(ROMEO, JULIET).1.contains("no decision"), "it was not taken");
    stage.decide(ROMEO, "7@example.com", false);
    assert_eq!(stage.reply().outcome, Outcome::Done);
}

/// A policy in which `pool` serves the domain of romeo, over `transport`.
fn next_hop_policy(terms: &str, port: u16) -> String {
    let served = "domain = \"example.net\"\nserved_by = \"pool\"";
    let policy = testing::POLICY.replace("domain = \"example.net\"", served);
    format!(
        "{policy}[[next_hop]]\nname = 'pool'\n{terms}\n\
         [[next_hop.server]]\naddress = '192.0.2.1:{port}'\n"
    )
}

#[test]
fn a_policy_that_asks_for_what_the_host_does_not_provide_is_refused_whole() {
    let mut stage = Stage::new(&ledger(), 9);
    let file = || "policy.toml".to_owned();
    let over_tls = next_hop_policy("certificate_name = 'sip.example.net'", 5061);
    for command in [
        Command::Plan { file: file(), policy: over_tls.clone() },
        Command::Apply { file: file(), policy: over_tls },
    ] {
        stage.command(command);
        let reply = stage.reply();
        assert_eq!(reply.outcome, Outcome::Invalid);
        assert!(reply.text.contains("[inside] has no `listen_tls`"), "{}", reply.text);
    }
    let policy = next_hop_policy("transport = 'tcp'", 5060);
    stage.command(Command::Apply { file: file(), policy });
    let reply = stage.reply();
    assert_eq!(reply.outcome, Outcome::Done, "{}", reply.text);
    assert!(reply.text.contains("+ next hop pool"), "{}", reply.text);
    let homeless = Provision { home: false, tcp: true, tls: true };
    let lacking = homeless.lacks(&testing::policy(testing::POLICY));
    assert_eq!(lacking, ["example.net is served by the home, and there is no [home]"]);
}

#[test]
fn a_user_of_a_next_hop_is_explained_by_its_servers_and_may_decide_about_contacts() {
    let mut stage = Stage::new(&ledger(), 9);
    let policy = next_hop_policy("transport = 'tcp'", 5060);
    stage.command(Command::Apply { file: "policy.toml".into(), policy });
    stage.reply();
    let nobody = "nobody-here-knows@example.net";
    let (passes, text) = stage.explained(JULIET, nobody);
    assert!(!passes && refuses(&text, "192.0.2.1:5060 not reached yet"), "{text}");
    assert!(!text.contains("home"), "{text}");
    stage.decide(nobody, JULIET, false);
    assert_eq!(stage.reply().outcome, Outcome::Done);
    assert!(refuses(&stage.explained(JULIET, nobody).1, "contact-decision"));
    // The next hop itself carries what goes between its users.
    let (_, text) = stage.explained(ROMEO, PARIS);
    assert!(text.contains("which does not ask"), "{text}");
}

#[test]
fn a_request_of_a_next_hop_is_judged_by_the_gateway_and_answered_on_its_connection() {
    let mut stage = Stage::new(&ledger(), 9);
    let policy = next_hop_policy("transport = 'tcp'", 5060);
    stage.command(Command::Apply { file: "policy.toml".into(), policy });
    let (local, peer) = ("192.0.2.9:5070", "192.0.2.1:40000");
    let [local, peer] = [local, peer].map(|it| it.parse().unwrap());
    let (flow, now) = (FlowId(next_hops::FLOWS), stage.clock.now);
    stage.core.handle_opened(flow, Transport::Tcp, Ends { local, peer }, Vec::new(), now);
    for (number, (from, to, answer)) in [
        ("romeo@example.net", "x@nobody.example", "SIP/2.0 404"),
        ("hermit@example.net", JULIET, "SIP/2.0 403"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!(
            "MESSAGE sip:{to} SIP/2.0\nFrom: <sip:{from}>;tag=1\nTo: <sip:{to}>\nCall-ID: c\n\
             CSeq: 1 MESSAGE\nContent-Type: text/plain\n\nhello"
        );
        stage.core.handle_bytes(flow, &testing::sip(&text, number as u64), now);
        let answered = |effect| match effect {
            CoreEffect::Transmit(it) => (it.flow == flow).then_some(it.bytes),
            _ => None,
        };
        let all = std::iter::from_fn(|| stage.core.poll_effect());
        let answers: Vec<_> = all.filter_map(answered).collect();
        assert!(answers.len() == 1 && answers[0].starts_with(answer.as_bytes()), "{answers:?}");
    }
}

#[test]
fn a_partner_is_shown_as_the_policy_has_it_and_a_stranger_is_refused() {
    let mut stage = Stage::new(&ledger(), 10);
    let shown = stage.ask(Command::PartnerShow { domain: "EXAMPLE.com".into() });
    assert_eq!(shown.outcome, Outcome::Done);
    for line in ["partner example.com", "  type: federated", "  none", "queue:", "last attempts:"] {
        assert!(shown.text.lines().any(|it| it == line), "{line:?} is not in\n{}", shown.text);
    }
    for (domain, words) in [("stranger.example", "is no partner"), ("not a domain", "domain")] {
        let shown = stage.ask(Command::PartnerShow { domain: domain.into() });
        assert_eq!(shown.outcome, Outcome::Refused);
        assert!(shown.text.contains(words), "{}", shown.text);
    }
    let ask = |domain: &str, edge: Option<&str>| Command::PartnerAttempts {
        domain: domain.into(),
        edge: edge.map(str::to_owned),
        last: 10,
    };
    assert_eq!(stage.ask(ask("stranger.example", None)).outcome, Outcome::Done);
    assert_eq!(stage.ask(ask("example.com", Some("edge9"))).outcome, Outcome::Refused);
    let list = stage.ask(Command::PartnerList).text;
    assert!(
        list.lines().any(|line| line == "example.com also.example.com\tfederated\t0 streams"),
        "{list}"
    );
}
