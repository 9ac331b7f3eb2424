//! A driver: a Python script that obeys JSON lines, as `drivers/json_lines.py` describes them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::process::Command;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use crate::namespace::Place;
use crate::process::{Process, Source};
use crate::wait::Deadline;

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/drivers");
/// Events that may wait to be taken.
const WAITING_EVENTS_MAX: usize = 20_000;
/// How long a command may take unless the test says otherwise, in seconds: more than Timer F.
const COMMAND_S_MAX: u64 = 40;

/// A command whose answer has not been fetched.
#[derive(Debug)]
#[must_use = "its failure would go unseen"]
pub struct Begun(u64);

/// A running driver whose events are of the type `E`.
pub struct Driver<E> {
    process: Process,
    command_count: u64,
    answers: BTreeMap<u64, Result<Value, String>>,
    events: VecDeque<E>,
}

/// A line from the script that is not an event.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Done { done: u64, result: Value },
    Failed { failed: u64, why: String },
}

impl<E: DeserializeOwned + Debug> Driver<E> {
    /// Starts a script of the folder `drivers`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(place: &Place, name: &str, script: &str) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-B").arg(format!("{SCRIPTS}/{script}"));
        Self::start_by(place, name, command)
    }

    /// Starts a script by a command of the test's own, such as one in a container.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_by(place: &Place, name: &str, command: Command) -> Self {
        Self {
            process: Process::start(name, place.directory(), command),
            command_count: 0,
            answers: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Carries out a command and gives its result, or why it failed.
    ///
    /// # Panics
    ///
    /// When the script does not answer.
    pub fn try_call(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let begun = self.begin(command, arguments);
        self.finish(begun, Deadline::after_s(COMMAND_S_MAX))
    }

    /// Carries out a command and gives its result.
    ///
    /// # Panics
    ///
    /// When the command fails or the script does not answer.
    pub fn ask<R: DeserializeOwned>(&mut self, command: &str, arguments: Value) -> R {
        let result = self.try_call(command, arguments);
        self.read_result(result)
    }

    /// Carries out a command that has no result.
    ///
    /// # Panics
    ///
    /// When the command fails or the script does not answer.
    pub fn tell(&mut self, command: &str, arguments: Value) {
        self.ask::<IgnoredAny>(command, arguments);
    }

    /// Starts a command, whose answer [`Driver::finish`] fetches.
    ///
    /// # Panics
    ///
    /// When `arguments` is neither an object nor null, or the script has ended.
    pub fn begin(&mut self, command: &str, arguments: Value) -> Begun {
        let mut line = match arguments {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            other => panic!("the arguments of {command} are not an object: {other}"),
        };
        self.command_count += 1;
        line.insert("n".to_owned(), self.command_count.into());
        line.insert("do".to_owned(), command.into());
        self.process.send_line(&Value::Object(line).to_string());
        Begun(self.command_count)
    }

    /// Waits for the answer to a command: its result, or why it failed.
    ///
    /// # Panics
    ///
    /// When the script does not answer within the deadline.
    pub fn finish(&mut self, Begun(number): Begun, deadline: Deadline) -> Result<Value, String> {
        loop {
            if let Some(answer) = self.answers.remove(&number) {
                return answer;
            }
            if !self.take_in_line(deadline) {
                panic!("{} did not answer within {deadline}", self.process.name());
            }
        }
    }

    /// The result of a command that was to succeed.
    ///
    /// # Panics
    ///
    /// When it failed, or the result is of another form.
    pub fn read_result<R: DeserializeOwned>(&self, result: Result<Value, String>) -> R {
        let name = self.process.name();
        let result = result.unwrap_or_else(|why| panic!("{name}: {why}"));
        serde_json::from_value(result).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Takes the first event for which `pick` gives something, waiting for it if need be.
    ///
    /// Events before it stay, for other waits.
    ///
    /// # Panics
    ///
    /// When the deadline passes, with what was awaited and the events there were instead.
    pub fn take_event<T>(
        &mut self,
        awaited: &str,
        deadline: Deadline,
        mut pick: impl FnMut(&E) -> Option<T>,
    ) -> T {
        let mut next = 0;
        loop {
            for index in next..self.events.len() {
                if let Some(found) = pick(&self.events[index]) {
                    self.events.remove(index);
                    return found;
                }
            }
            next = self.events.len();
            if !self.take_in_line(deadline) {
                let (name, seen) = (self.process.name(), &self.events);
                panic!("{name} awaited within {deadline}: {awaited}\nsaw instead: {seen:#?}");
            }
        }
    }

    /// The events that nobody has taken, with every one that happened before the call.
    ///
    /// # Panics
    ///
    /// When the script does not answer.
    pub fn waiting_events(&mut self) -> &VecDeque<E> {
        self.tell("catch_up", Value::Null);
        &self.events
    }

    /// The process: its log, its end, its cost.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sorts in the next line; says whether there was one before the deadline.
    fn take_in_line(&mut self, deadline: Deadline) -> bool {
        let Some(line) = self.process.next_line(deadline) else { return false };
        if line.source == Source::Err {
            return true;
        }
        match serde_json::from_str(&line.text) {
            Ok(Answer::Done { done, result }) => {
                self.answers.insert(done, Ok(result));
            }
            Ok(Answer::Failed { failed, why }) => {
                self.answers.insert(failed, Err(why));
            }
            Err(_) => {
                let event = serde_json::from_str(&line.text);
                let event = event.unwrap_or_else(|error| panic!("{error}: {}", line.text));
                assert!(self.events.len() < WAITING_EVENTS_MAX, "nobody takes the events");
                self.events.push_back(event);
            }
        }
        true
    }
}
