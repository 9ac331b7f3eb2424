//! What holds for every file of the project: layout, names, sizes, directions, true documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FILE_LINES_MAX: usize = 800;
/// Names that say nothing.
const BANNED_NAMES: [&str; 9] =
    ["util", "utils", "common", "misc", "helper", "helpers", "manager", "handler", "types"];
/// What the root holds besides text and tool files.
const FOLDERS: [&str; 6] = ["deploy", "edge-proxy", "frontend-gateway", "fuzz", "proto", "tests"];
/// Where the crate is that is not of the workspace, since only cargo-fuzz builds it.
const FUZZ: &str = "fuzz/";
/// Crates of ours that each may use.
const DIRECTIONS: [(&str, &[&str]); 7] = [
    ("xmpp-proto", &[]),
    ("sip-proto", &[]),
    ("link", &[]),
    ("host", &["xmpp-proto", "sip-proto", "link"]),
    ("edge-proxy", &["xmpp-proto", "sip-proto", "link", "host"]),
    ("frontend-gateway", &["xmpp-proto", "sip-proto", "link", "host"]),
    ("tests", &["xmpp-proto", "sip-proto", "link", "host"]),
];
/// What an engine must not reach, whoever brings it.
const NOT_IN_ENGINES: [&str; 7] =
    ["tokio", "mio", "socket2", "hyper", "rustls", "getrandom", "rand"];
/// Modules that must not use each other, within a crate.
const APART: [(&str, &[&str]); 4] = [
    ("frontend-gateway/src/translate", &["crate::policy", "crate::gateway", "crate::links"]),
    ("frontend-gateway/src/policy", &["crate::translate", "crate::gateway", "crate::links"]),
    ("frontend-gateway/src/home", &["crate::gateway", "crate::links", "crate::translate"]),
    ("frontend-gateway/src/gateway", &["crate::home"]),
];
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CONFORMANCE.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "deploy/README.md",
    "proto/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root is above").to_owned()
}

/// Every file of the project that git knows or would take, from the root.
fn files(endings: &[&str]) -> Vec<String> {
    let mut command = Command::new("git");
    command.current_dir(root());
    command.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = command.output().expect("git can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let wanted = |path: &&str| endings.iter().any(|ending| path.ends_with(ending));
    let existing = |path: &&str| root().join(path).exists();
    text.lines().filter(wanted).filter(existing).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file with its text.
fn sources() -> Vec<(String, String)> {
    let with_text = |path: String| {
        let text = read(&path);
        (path, text)
    };
    files(&[".rs"]).into_iter().map(with_text).collect()
}

/// Fails with every finding and what to do about them.
fn assert_none(found: &[String], advice: &str) {
    assert!(found.is_empty(), "{advice}:\n{}", found.join("\n"));
}

#[test]
fn every_source_file_says_its_duty_in_its_first_line() {
    let says_it = |text: &str| text.lines().next().is_some_and(|line| line.starts_with("//! "));
    let found: Vec<_> =
        sources().into_iter().filter(|(_, text)| !says_it(text)).map(|(path, _)| path).collect();
    assert_none(&found, "open these files with one `//!` line that says their duty");
}

#[test]
fn files_and_tests_have_a_size_that_can_be_read() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{path}: {lines} lines; at most {FILE_LINES_MAX}"));
        }
        let inline = text.lines().skip_while(|line| *line != "mod tests {").count();
        if inline > 170 {
            found
                .push(format!("{path}: {inline} lines of tests; move them to a file of their own"));
        }
    }
    assert_none(&found, "split these files along a concept");
}

#[test]
fn names_say_something() {
    let mut found = Vec::new();
    for path in files(&[".rs", ".py", ".sh"]) {
        let parts = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
        let names: Vec<_> = parts.filter(|part| BANNED_NAMES.contains(part)).collect();
        if !names.is_empty() || path.ends_with("/mod.rs") {
            found.push(path);
        }
    }
    assert_none(&found, "name these files after what they hold; no mod.rs");
}

#[test]
fn comments_give_reasons_and_not_history() {
    const BANNED: [&str; 7] =
        ["FIXME", "XXX", "HACK", "previously", " used to be", "no longer needed", "old code"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            let is_open_task = comment.contains("TODO") && !comment.contains("TODO(#");
            if is_open_task || BANNED.iter().any(|word| comment.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "say why, or cite the rule; a TODO names its issue");
}

#[test]
fn the_root_holds_nothing_else() {
    let folder = |path: String| path.split_once('/').map(|(first, _)| first.to_owned());
    let found: BTreeSet<_> = files(&[""]).into_iter().filter_map(folder).collect();
    let found: Vec<_> = found
        .into_iter()
        .filter(|it| it != ".ci" && it != ".cargo" && !FOLDERS.contains(&it.as_str()))
        .collect();
    assert_none(&found, "these folders are not in DESIGN's layout");
}

#[test]
fn nothing_of_a_machine_is_committed() {
    // In pieces, so that this file does not find itself.
    let marks =
        [["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"]].map(|it| it.concat());
    let mut found = Vec::new();
    for path in files(&[".rs", ".py", ".sh", ".toml", ".md", ".proto", "run", ".lua"]) {
        for (number, line) in read(&path).lines().enumerate() {
            let is_whole =
                |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric());
            let is_path =
                |mark: &String| line.match_indices(mark.as_str()).any(|(at, _)| is_whole(at));
            if marks.iter().any(is_path) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "these lines name a path of one machine");
}

/// Every crate of the graph with those that it needs to run or to build, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["metadata", "--format-version", "1", "--offline"]);
    // The others need not be on this machine.
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|it| (text(&it["id"]), text(&it["name"]))).collect();
    let is_normal =
        |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|it| it["kind"].is_null());
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let needed = list(&node["deps"]).into_iter().filter(is_normal);
        let needed = needed.map(|it| names[&text(&it["pkg"])].clone());
        graph.entry(names[&text(&node["id"])].clone()).or_default().extend(needed);
    }
    graph
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

#[test]
fn crates_depend_only_in_the_agreed_directions() {
    let graph = dependencies();
    let ours: BTreeSet<&str> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    for (name, allowed) in DIRECTIONS {
        for needed in graph[name].iter().filter(|it| ours.contains(it.as_str())) {
            if !allowed.contains(&needed.as_str()) {
                found.push(format!("{name} depends on {needed}"));
            }
        }
    }
    for engine in ["xmpp-proto", "sip-proto"] {
        let mut reached = BTreeSet::from([engine.to_owned()]);
        let mut next = vec![engine.to_owned()];
        while let Some(name) = next.pop() {
            next.extend(graph[&name].iter().filter(|it| reached.insert((*it).clone())).cloned());
        }
        let banned = NOT_IN_ENGINES.iter().filter(|it| reached.contains(**it));
        found.extend(banned.map(|it| format!("{engine} reaches {it}")));
    }
    assert_none(&found, "these arrows must not be");
}

#[test]
fn modules_that_are_apart_stay_apart() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if path.contains("tests") {
            continue;
        }
        for (module, others) in APART {
            let is_in = path == format!("{module}.rs") || path.starts_with(&format!("{module}/"));
            let others = others.iter().filter(|other| is_in && text.contains(**other));
            found.extend(others.map(|other| format!("{path} uses {other}")));
        }
    }
    assert_none(&found, "these modules meet only above both");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let manifests = files(&["/Cargo.toml"]).into_iter().filter(|it| !it.starts_with(FUZZ));
    let found: Vec<_> =
        manifests.filter(|it| !read(it).contains("[lints]\nworkspace = true")).collect();
    assert_none(&found, "add `[lints]` with `workspace = true`");
}

/// Documents such as `RFC 3261` and `XEP-0220` that a text names.
fn citations(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for mark in ["RFC ", "XEP-"] {
        for (start, _) in text.match_indices(mark) {
            let number: String =
                text[start + mark.len()..].chars().take_while(char::is_ascii_digit).collect();
            if number.len() == 4 {
                found.insert(format!("{mark}{number}"));
            }
        }
    }
    found
}

#[test]
fn every_cited_document_stands_in_conformance() {
    let known = citations(&read("CONFORMANCE.md"));
    let mut found = BTreeSet::new();
    for (path, text) in sources() {
        found
            .extend(citations(&text).difference(&known).map(|it| format!("{it}, cited by {path}")));
    }
    let found: Vec<_> = found.into_iter().collect();
    assert_none(&found, "give these documents a row in CONFORMANCE.md");
}

#[test]
fn paths_in_the_documents_exist() {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let directory = Path::new(document).parent().expect("it is a file");
        let contents = read(document);
        let quoted = contents.split('`').skip(1).step_by(2).map(|path| (Path::new(""), path));
        let links = contents.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let is_path = |path: &str| {
            let first = path.split('/').next().unwrap_or_default();
            path.contains('/')
                && !path.contains([' ', '*', '<', ':'])
                && (FOLDERS.contains(&first) || first == ".ci")
        };
        let quoted = quoted.filter(|(_, path)| is_path(path));
        let links = links.filter(|it| !it.contains("://")).map(|path| (directory, path));
        let missing =
            quoted.chain(links).filter(|(base, path)| !root().join(base).join(path).exists());
        found.extend(missing.map(|(_, path)| format!("{document} names {path}")));
    }
    assert_none(&found, "these paths do not exist");
}

#[test]
fn every_configuration_key_is_annotated() {
    const KEYED: [(&str, &[&str]); 3] = [
        (
            "deploy/config/edge-proxy.toml",
            &["edge-proxy/src/config.rs", "proto/host/src/log.rs", "proto/host/src/tls/files.rs"],
        ),
        (
            "deploy/config/frontend-gateway.toml",
            &[
                "frontend-gateway/src/config.rs",
                "proto/host/src/log.rs",
                "proto/host/src/tls/files.rs",
            ],
        ),
        (
            "deploy/config/policy.toml",
            &[
                "frontend-gateway/src/policy/document.rs",
                "frontend-gateway/src/policy/next_hop_document.rs",
                "frontend-gateway/src/policy/partner_document.rs",
                "frontend-gateway/src/policy/partner_trust.rs",
            ],
        ),
    ];
    let mut found = Vec::new();
    for (annotated, readers) in KEYED {
        let annotated_text = read(annotated);
        let keys: BTreeSet<String> = readers.iter().flat_map(|path| keys(&read(path))).collect();
        assert!(keys.len() > 5, "the getters of {annotated} are found");
        let is_named = |key: &str| {
            annotated_text.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ', '[']);
                line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', ']']))
                    || line.contains(&format!(".{key}]"))
            })
        };
        let missing = keys.iter().filter(|key| !is_named(key));
        found.extend(missing.map(|key| format!("{annotated} does not name {key}")));
    }
    assert_none(&found, "annotate these keys");
}

/// The keys that the getters of `host::config::Table` are called with.
fn keys(text: &str) -> BTreeSet<String> {
    const GETTERS: [&str; 7] =
        [".required(", ".optional(", ".or(", ".number(", ".word(", ".table(", ".tables("];
    let mut found = BTreeSet::new();
    for getter in GETTERS {
        for (start, _) in text.match_indices(getter) {
            let argument = text[start + getter.len()..].trim_start();
            let key = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(key.map(str::to_owned));
        }
    }
    found
}
