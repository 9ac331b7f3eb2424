//! Each gate between two addresses with its verdict, asked of the code that decides.

use xmpp_proto::jid::Jid;

use super::Core;
use crate::clock::Now;
use crate::contacts::Contacts;
use crate::facts::Facts;
use crate::home::{Home, HomeSettings, decide_watcher};
use crate::next_hops::NextHops;
use crate::policy::{Direction, Gate, Policy, Question, Refusal, ServedBy, Subject};
use crate::store::Loaded;

/// What stands between two addresses.
pub struct Explanation {
    /// A line for each gate.
    pub text: String,
    /// Whether a message and presence get through.
    pub passes: bool,
}

/// What a verdict rests on.
struct Grounds<'a> {
    facts: Facts<'a>,
    /// None while there is no store, so that nothing is known of users.
    home: Option<&'a Home>,
    /// None when no front end is asked.
    running: Option<Running<'a>>,
    now: Now,
}

/// What is connected.
struct Running<'a> {
    edges_attached: usize,
    next_hops: &'a NextHops,
}

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    refused: bool,
}

/// Explains without a running front end: by a policy and what the store holds, if there is one.
pub fn explain_offline(
    policy: &Policy,
    stored: Option<(Loaded, HomeSettings)>,
    from: &Jid,
    to: &Jid,
    now: Now,
) -> Explanation {
    let (mut contacts, mut home) = (Contacts::default(), None);
    if let Some((mut loaded, settings)) = stored {
        contacts = Contacts::restore(std::mem::take(&mut loaded.contacts));
        // Nothing is made from the seeds: this home sends nothing.
        home = Some(Home::restore(&mut loaded, settings, [[0; 32]; 2], now));
    }
    let facts = Facts { policy, contacts: &contacts };
    Grounds { facts, home: home.as_ref(), running: None, now }.explain(from, to)
}

impl Core {
    /// Explains what becomes of a message and of presence from one address to another.
    pub fn explain(&self, from: &Jid, to: &Jid, now: Now) -> Explanation {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        let edges_attached = self.edges_attached();
        let running = Some(Running { edges_attached, next_hops: &self.next_hops });
        Grounds { facts, home: Some(&self.home), running, now }.explain(from, to)
    }
}

impl Grounds<'_> {
    fn explain(&self, from: &Jid, to: &Jid) -> Explanation {
        let mut lines = Lines::default();
        let is_local = |jid: &Jid| self.facts.policy.served_by(jid.domain()).is_some();
        let crosses = !(is_local(from) && is_local(to));
        let servers = [from, to].map(|user| self.facts.policy.served_by(user.domain()));
        match servers {
            _ if crosses => lines.policy_gates(self.facts, from, to),
            [Some(ServedBy::Home), Some(ServedBy::Home)] => lines.home_gates(self.facts, from, to),
            [sender, recipient] => lines.gate(
                "local-domain",
                match (sender, recipient) {
                    (Some(sender), Some(recipient)) if sender != recipient => {
                        Err(format!("nothing goes between {sender} and {recipient}"))
                    }
                    _ => Ok("both are of one next hop, which does not ask".into()),
                },
            ),
        }
        for user in [from, to] {
            if let Some(next_hop) = self.facts.policy.next_hop(user.domain())
                && !lines.refused
            {
                lines.next_hop_gate(self.running.as_ref(), &next_hop.name);
            }
        }
        let is_local = |jid: &Jid| self.facts.policy.is_home(jid.domain());
        if let Some(home) = self.home {
            if is_local(from) && !lines.refused {
                lines.user_gate(home, from);
            }
            if is_local(to) && !lines.refused {
                lines.recipient_gates(home, to, self.now);
            }
        } else {
            lines.say("there is no store yet: nothing is known of users".into());
        }
        if let Some(running) = self.running.as_ref().filter(|_| crosses && !lines.refused) {
            lines.gate(
                "edge",
                match running.edges_attached {
                    0 => Err("no edge is attached; see the front end's log".into()),
                    count => Ok(format!("{count} attached")),
                },
            );
        }
        lines.finish()
    }
}

impl Lines {
    fn say(&mut self, line: String) {
        self.text.push(line);
    }

    fn gate(&mut self, name: &str, verdict: Result<String, String>) {
        self.refused |= verdict.is_err();
        let (word, why) = match verdict {
            Ok(why) => ("pass", why),
            Err(why) => ("REFUSED", why),
        };
        self.say(format!("  {word:<8} {name:<18} {why}"));
    }

    fn policy_gate(&mut self, gate: Gate, result: Result<(), Refusal>, on: (&Policy, &Question)) {
        let (policy, question) = on;
        let verdict = match result {
            Ok(()) => Ok(gate.finding(policy, question)),
            Err(refusal) => Err(format!("{refusal}; remedy: {}", refusal.remedy(Jid::clone))),
        };
        self.gate(gate.name(), verdict);
    }

    /// The gates between a user of ours and a partner's.
    fn policy_gates(&mut self, facts: Facts<'_>, from: &Jid, to: &Jid) {
        let policy = facts.policy;
        let (user, contact, direction, way) = match policy.served_by(from.domain()) {
            Some(_) => (from, to, Direction::S2x, "SIP to XMPP"),
            None => (to, from, Direction::X2s, "XMPP to SIP"),
        };
        let standing = facts.contacts.standing(user, contact);
        if let Some(partner) = policy.partner(contact.domain()) {
            let (name, profile, terms) = (&partner.domain, partner.profile.word(), partner.terms);
            self.say(format!("partner {name}: profile {profile}, {terms}"));
        }
        for (subject, name) in [(Subject::Message, "message"), (Subject::Presence, "presence")] {
            self.say(format!("{from} -> {to}: {name}, {way}"));
            let question = Question { user, contact, direction, subject, standing };
            for verdict in policy.explain(&question) {
                self.policy_gate(verdict.gate, verdict.result, (policy, &question));
            }
        }
    }

    /// The gates between two users of ours.
    fn home_gates(&mut self, facts: Facts<'_>, from: &Jid, to: &Jid) {
        self.say(format!("{from} -> {to}: message, both are served here, no policy is asked"));
        self.say(format!("{from} -> {to}: presence, both are served here"));
        let question = Question {
            user: to,
            contact: from,
            direction: Direction::X2s,
            subject: Subject::Presence,
            standing: facts.contacts.standing(to, from),
        };
        let decision = decide_watcher(facts, to, from).map(drop);
        self.policy_gate(Gate::ContactDecision, decision, (facts.policy, &question));
    }

    fn user_gate(&mut self, home: &Home, user: &Jid) {
        self.gate(
            "home-user",
            match home.accounts().has(user) {
                true => Ok(format!("{user} is a user of the home")),
                false => {
                    Err(format!("{user} is no user of the home: frontend-gateway user add {user}"))
                }
            },
        );
    }

    fn next_hop_gate(&mut self, running: Option<&Running<'_>>, name: &str) {
        let verdict = match running.map(|running| running.next_hops.describe(name)) {
            Some((true, servers)) => Ok(format!("{name}: {servers}")),
            Some((false, servers)) => Err(format!("{name} has no server in service: {servers}")),
            None => Ok(format!("{name}: not asked")),
        };
        self.gate("next-hop", verdict);
    }

    fn recipient_gates(&mut self, home: &Home, user: &Jid, now: Now) {
        self.user_gate(home, user);
        if self.refused {
            return;
        }
        if home.is_connected(user, now) {
            return self.gate("home-store", Ok(format!("not asked: {user} is connected")));
        }
        let place = match home.is_registered(user, now) {
            true => format!("{user} is registered, but has no open connection"),
            false => format!("{user} is away"),
        };
        self.gate(
            "home-store",
            match home.room_for(user) {
                Ok(()) => Ok(format!("{place}; messages are kept")),
                Err(error) => Err(format!("{place}; a sender would be told: {error}")),
            },
        );
    }

    fn finish(mut self) -> Explanation {
        let end = if self.refused { "REFUSED" } else { "passes" };
        self.say(end.to_owned());
        Explanation { text: self.text.join("\n"), passes: !self.refused }
    }
}
