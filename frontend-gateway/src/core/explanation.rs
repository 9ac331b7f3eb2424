//! Each gate between two addresses with its verdict, asked of the code that decides.

use xmpp_proto::jid::Jid;

use super::Core;
use crate::clock::Now;
use crate::policy::{Direction, Policy, Question, Standing, Subject};

/// What stands between two addresses.
pub struct Explanation {
    /// A line for each gate.
    pub text: String,
    /// Whether a message and presence get through.
    pub passes: bool,
}

/// Explains by the policy alone, when no front end runs: nothing is known of users and decisions.
pub fn explain_by_policy(policy: &Policy, from: &Jid, to: &Jid) -> Explanation {
    let mut lines = Lines::default();
    lines.policy_gates(policy, from, to, Standing::Unknown);
    lines.finish()
}

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    refused: bool,
}

impl Core {
    /// Explains what becomes of a message and of presence from one address to another.
    pub fn explain(&self, from: &Jid, to: &Jid, now: Now) -> Explanation {
        let mut lines = Lines::default();
        let is_local = |jid: &Jid| self.policy.served_by(jid.domain()).is_some();
        let crosses = !(is_local(from) && is_local(to));
        if crosses {
            let (user, contact, _) = sides(&self.policy, from, to);
            let standing = self.contacts.standing(user, contact);
            lines.policy_gates(&self.policy, from, to, standing);
        } else {
            lines.say(format!("{from} -> {to}: both are served here, no policy is asked"));
        }
        if is_local(from) && !lines.refused {
            self.explain_sender(from, &mut lines);
        }
        if is_local(to) && !lines.refused {
            self.explain_recipient(to, now, &mut lines);
        }
        if crosses && !lines.refused {
            lines.gate(
                "edge",
                match self.edges_attached() {
                    0 => Err("no edge is attached; see the front end's log".into()),
                    count => Ok(format!("{count} attached")),
                },
            );
        }
        lines.finish()
    }

    fn explain_sender(&self, user: &Jid, lines: &mut Lines) {
        lines.gate(
            "home-user",
            match self.home.accounts().has(user) {
                true => Ok(format!("{user} is a user of the home")),
                false => {
                    Err(format!("{user} is no user of the home: frontend-gateway user add {user}"))
                }
            },
        );
    }

    fn explain_recipient(&self, user: &Jid, now: Now, lines: &mut Lines) {
        self.explain_sender(user, lines);
        if lines.refused {
            return;
        }
        if self.home.is_registered(user, now) {
            return lines.gate("home-store", Ok(format!("not asked: {user} is registered")));
        }
        lines.gate(
            "home-store",
            match self.home.room_for(user) {
                Ok(()) => Ok(format!("{user} is away, and messages are kept")),
                Err(error) => Err(error.to_string()),
            },
        );
    }
}

/// Returns the local user, the contact, and which way it goes.
fn sides<'a>(policy: &Policy, from: &'a Jid, to: &'a Jid) -> (&'a Jid, &'a Jid, Direction) {
    match policy.served_by(from.domain()) {
        Some(_) => (from, to, Direction::S2x),
        None => (to, from, Direction::X2s),
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

    fn policy_gates(&mut self, policy: &Policy, from: &Jid, to: &Jid, standing: Standing) {
        let (user, contact, direction) = sides(policy, from, to);
        let way = match direction {
            Direction::S2x => "SIP to XMPP",
            Direction::X2s => "XMPP to SIP",
        };
        for (subject, name) in [(Subject::Message, "message"), (Subject::Presence, "presence")] {
            self.say(format!("{from} -> {to}: {name}, {way}"));
            let question = Question { user, contact, direction, subject, standing };
            for verdict in policy.explain(&question) {
                let gate = verdict.gate;
                self.gate(
                    gate.name(),
                    match verdict.result {
                        Ok(()) => Ok(gate.finding(policy, &question)),
                        Err(refusal) => Err(format!("{refusal}; remedy: {}", refusal.remedy())),
                    },
                );
            }
        }
    }

    fn finish(mut self) -> Explanation {
        let end = if self.refused { "REFUSED" } else { "passes" };
        self.say(end.to_owned());
        Explanation { text: self.text.join("\n"), passes: !self.refused }
    }
}
