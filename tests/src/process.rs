//! A program that a test runs: its output captured, its death arranged, its cost measured.
//!
//! Every line of output is kept in memory, up to a limit, and in the file `<name>.log` of the
//! test's directory, whole. When a test fails, the last lines of each of its processes are printed.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::wait::{Deadline, until};

/// Lines that may wait to be looked at; a test that looks so rarely is at fault.
const UNREAD_LINES_MAX: usize = 200_000;
/// Lines kept in memory; the oldest go first.
const KEPT_LINES_MAX: usize = 50_000;
/// Lines that a failing test prints of each process.
const TAIL_LINES_MAX: usize = 40;
/// Bytes of each of these lines; the whole line is in the log.
const TAIL_LINE_BYTES_MAX: usize = 400;
/// Ticks of `/proc/<pid>/stat` in a second: USER_HZ, the same on every Linux that we build for.
const TICKS_PER_S: f64 = 100.0;

/// Where a line of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line of a program's output, without its end.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where it came from.
    pub source: Source,
    /// The text; what is not UTF-8 in it is replaced.
    pub text: String,
}

/// A place in the output, so that a wait can leave out what came before.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// Before the first line.
    pub const START: Self = Self(0);
}

/// A running program; dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    incoming: Receiver<Line>,
    overrun: Arc<AtomicBool>,
    kept: VecDeque<Line>,
    /// How many lines are no longer kept.
    forgotten: usize,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; `name` appears in messages and in the name of the log.
    ///
    /// A second process of the same name in the same directory adds to the log of the first.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    pub fn start(name: &str, directory: &Path, mut command: Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        // A group of its own, so that a server's children can be killed with it.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}: {command:?}"));
        let (lines, incoming) = sync_channel(UNREAD_LINES_MAX);
        let overrun = Arc::new(AtomicBool::new(false));
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        follow(Source::Out, stdout, open_log(&log), lines.clone(), Arc::clone(&overrun));
        follow(Source::Err, stderr, open_log(&log), lines, Arc::clone(&overrun));
        let stdin = child.stdin.take();
        Self {
            name: name.to_owned(),
            child,
            stdin,
            incoming,
            overrun,
            kept: VecDeque::new(),
            forgotten: 0,
            log,
        }
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to the program's standard input.
    ///
    /// # Panics
    ///
    /// When the program does not read any more.
    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin stays open while the process is held");
        let written = stdin.write_all(format!("{line}\n").as_bytes());
        if let Err(error) = written {
            self.fail(&format!("does not read its input: {error}"));
        }
    }

    /// The next line that nobody has taken, or `None` when the deadline passes or output ends.
    pub fn next_line(&mut self, deadline: Deadline) -> Option<&Line> {
        let line = self.incoming.recv_timeout(deadline.remaining()).ok()?;
        Some(self.keep(line))
    }

    /// The end of the output so far.
    pub fn mark(&mut self) -> Mark {
        self.take_in();
        Mark(self.forgotten + self.kept.len())
    }

    /// Waits for a line that holds `text`, which may have come before the call.
    ///
    /// # Panics
    ///
    /// When the deadline passes or the output ends.
    pub fn wait_for_line(&mut self, text: &str, deadline: Deadline) -> String {
        self.wait_for_line_after(Mark::START, text, deadline)
    }

    /// Waits for a line after `mark` that holds `text`.
    ///
    /// # Panics
    ///
    /// When the deadline passes or the output ends.
    pub fn wait_for_line_after(&mut self, mark: Mark, text: &str, deadline: Deadline) -> String {
        let mut next = mark.0;
        loop {
            self.take_in();
            if let Some(found) = self.lines_from(next).find(|line| line.contains(text)) {
                return found.to_owned();
            }
            next = self.forgotten + self.kept.len();
            if self.next_line(deadline).is_none() {
                self.fail(&format!("was to print within {deadline}: {text}"));
            }
        }
    }

    /// The lines after `mark` so far that hold `text`.
    pub fn lines_with(&mut self, mark: Mark, text: &str) -> Vec<String> {
        self.take_in();
        self.lines_from(mark.0).filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Waits until the program ends by itself.
    ///
    /// # Panics
    ///
    /// When the deadline passes.
    pub fn wait_for_exit(&mut self, deadline: Deadline) -> ExitStatus {
        while !deadline.has_passed() && self.next_line(deadline).is_some() {}
        until(&format!("the end of {}", self.name), deadline, || {
            let status = self.child.try_wait().map_err(|error| error.to_string())?;
            status.ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Kills the program and its children at once, as a crash would, and waits until it is gone.
    pub fn kill_9(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The program may end by itself in between, which is as good.
            let _ = send_signal("-KILL", &format!("-{}", self.id()));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Asks the program to end, with SIGTERM, and waits until it has.
    ///
    /// # Panics
    ///
    /// When it does not end within the deadline.
    pub fn terminate(&mut self, deadline: Deadline) -> ExitStatus {
        let sent = send_signal("-TERM", &self.id().to_string());
        assert!(sent.is_ok_and(|status| status.success()), "{} cannot be signalled", self.name);
        self.wait_for_exit(deadline)
    }

    /// Sends SIGHUP.
    ///
    /// # Panics
    ///
    /// When the program is gone.
    pub fn hang_up(&self) {
        let sent = send_signal("-HUP", &self.id().to_string());
        assert!(sent.is_ok_and(|status| status.success()), "{} cannot be signalled", self.name);
    }

    /// Stops the program and its children where they are, with SIGSTOP: their sockets stay open.
    ///
    /// # Panics
    ///
    /// When the program is gone.
    pub fn freeze(&self) {
        self.signal_group("-STOP");
    }

    /// Lets them go on, with SIGCONT.
    ///
    /// # Panics
    ///
    /// When the program is gone.
    pub fn thaw(&self) {
        self.signal_group("-CONT");
    }

    fn signal_group(&self, signal: &str) {
        let sent = send_signal(signal, &format!("-{}", self.id()));
        assert!(sent.is_ok_and(|status| status.success()), "{} cannot be signalled", self.name);
    }

    /// The processor time that the program's own threads have used, in seconds.
    ///
    /// # Panics
    ///
    /// When the program is gone.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc_file("stat");
        // The second field is a name in parentheses that may hold anything.
        let after_name = stat.rsplit_once(')').expect("the name ends with a parenthesis").1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().expect("a number of ticks");
        // proc(5): utime and stime are fields 14 and 15; the first after the name is field 3.
        (ticks(11) + ticks(12)) / TICKS_PER_S
    }

    /// The memory that the program holds, in bytes.
    ///
    /// # Panics
    ///
    /// When the program is gone.
    pub fn resident_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// The most memory that the program has held so far, in bytes.
    ///
    /// # Panics
    ///
    /// When the program is gone.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.memory_bytes("VmHWM:")
    }

    fn memory_bytes(&self, field: &str) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("proc(5) gives sizes in kB") * 1024
    }

    fn proc_file(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.id()))
            .unwrap_or_else(|error| panic!("{} is gone: {error}", self.name))
    }

    fn lines_from(&self, next: usize) -> impl Iterator<Item = &str> {
        self.kept.iter().skip(next.saturating_sub(self.forgotten)).map(|line| line.text.as_str())
    }

    fn take_in(&mut self) {
        while let Ok(line) = self.incoming.try_recv() {
            self.keep(line);
        }
    }

    fn keep(&mut self, line: Line) -> &Line {
        let is_overrun = self.overrun.load(Ordering::Relaxed) && !thread::panicking();
        assert!(!is_overrun, "{}: nobody looked at its output, and lines were lost", self.name);
        if self.kept.len() == KEPT_LINES_MAX {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        self.kept.push_back(line);
        self.kept.back().expect("a line was just added")
    }

    fn fail(&mut self, what: &str) -> ! {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => "it runs".to_owned(),
        };
        panic!("{} {what}\n{state}; its whole output: {}", self.name, self.log.display());
    }

    #[expect(clippy::print_stderr, reason = "the report of a failing test")]
    fn print_tail(&self) {
        eprintln!("--- the end of the output of {} ({})", self.name, self.log.display());
        for line in self.kept.iter().skip(self.kept.len().saturating_sub(TAIL_LINES_MAX)) {
            let end = line.text.floor_char_boundary(TAIL_LINE_BYTES_MAX);
            eprintln!("{}", &line.text[..end]);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            self.take_in();
            self.print_tail();
        }
        self.kill_9();
    }
}

/// Signals a process, or a process group where `target` begins with a minus sign.
fn send_signal(signal: &str, target: &str) -> io::Result<ExitStatus> {
    Command::new("kill").args([signal, "--", target]).stderr(Stdio::null()).status()
}

fn open_log(path: &Path) -> File {
    let opened = File::options().create(true).append(true).open(path);
    opened.unwrap_or_else(|error| panic!("{} cannot be opened: {error}", path.display()))
}

/// Follows one stream of output to its end, in a thread of its own.
fn follow(
    source: Source,
    output: impl Read + Send + 'static,
    mut log: File,
    lines: SyncSender<Line>,
    overrun: Arc<AtomicBool>,
) {
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            // A log that cannot be written must not stop the program it is of.
            let _ = log.write_all(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            if let Err(TrySendError::Full(_)) = lines.try_send(Line { source, text }) {
                overrun.store(true, Ordering::Relaxed);
            }
            bytes.clear();
        }
    });
}
