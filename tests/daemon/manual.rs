//! The operator's manual, `docs/`: every command in it is run, in the order of its chapter, and does what it says.
//!
//! Prevents a manual that was true once. Each chapter has a daemon of its own. What cannot be run here is listed below
//! with its reason, and nothing else is passed over. Needs a shell and curl; never leaves the daemon's own directory.

mod page;
mod stage;

use std::collections::BTreeSet;
use std::path::Path;

use page::{Block, Page, pages, root};
use stage::Stage;

use crate::kit::Daemon;
use crate::kit::http::ask;

/// Pages whose commands are run elsewhere, or which have none.
const RUN_ELSEWHERE: &[(&str, &str)] = &[
    ("README.md", "the table of contents"),
    ("first-steps.md", "begins with the package: the tests of the package run it"),
];

/// First lines of `console` blocks: what is shown and not run, with the reason.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "<sip:alice@example.org>;outbound=\"sip:sip.example.org;transport=tcp\";pubint=300;mwi=yes",
        "a file of baresip: tests/e2e runs a real one with these settings",
    ),
    ("\"Bob\" <sip:bob@example.org>;presence=p2p", "a file of baresip: tests/e2e runs a real one with this"),
    ("[sip]", "a file of Linphone: tests/e2e runs a real one with these settings"),
    ("[default]", "a file of opensips-cli: tests/e2e/opensips_cli.rs runs it with these settings"),
    ("$ opensips-cli -x mi imc_list_rooms", "not everybody has it: tests/e2e/opensips_cli.rs runs it"),
    ("$ chown imcd: /var/lib/imcd/token", "the user comes with the package"),
    (
        "$ RPCFIFOPATH=/run/imcd/imcd_fifo kamctl rpc imc.list_rooms",
        "not everybody has it: tests/e2e/opensips_cli.rs runs it",
    ),
];

/// Names with a dot that are neither a key of the configuration nor a method.
const OTHER_NAMES: &[(&str, &str)] =
    &[("presence.winfo", "an event package"), ("presence.so", "a module of baresip")];

/// A page, and the test that runs it.
macro_rules! chapters {
    ($($test:ident = $page:literal;)*) => {
        const CHAPTERS: &[&str] = &[$($page),*];
        $(#[test] fn $test() { run($page); })*
    };
}

chapters! {
    accounts_goes_as_it_says = "accounts.md";
    backup_goes_as_it_says = "backup.md";
    configuration_goes_as_it_says = "configuration.md";
    migration_goes_as_it_says = "migration.md";
    management_goes_as_it_says = "management.md";
    monitoring_goes_as_it_says = "monitoring.md";
    presence_goes_as_it_says = "presence.md";
    proxies_goes_as_it_says = "proxies.md";
    rooms_goes_as_it_says = "rooms.md";
    sizing_goes_as_it_says = "sizing.md";
    trouble_goes_as_it_says = "trouble.md";
}

/// What a Kamailio left: the page on moving begins with it.
const DUMP: &str = "\
INSERT INTO subscriber (id, username, domain, password, ha1, ha1b) VALUES
  (1, 'alice', 'example.org', 'wonderland', '', ''), (2, 'bob', 'example.org', 'builder', '', '');
INSERT INTO imc_rooms (id, name, domain, flag) VALUES (1, 'team', 'example.org', 0);
INSERT INTO imc_members (id, username, domain, room, flag) VALUES
  (1, 'alice', 'example.org', 'sip:team@example.org', 1), (2, 'bob', 'example.org', 'sip:team@example.org', 0);
INSERT INTO silo (id, src_addr, dst_addr, username, domain, inc_time, exp_time, snd_time, ctype, body) VALUES
  (1, 'sip:alice@example.org', 'sip:bob@example.org', 'bob', 'example.org', 1760000000, 4000000000, 0, 'text/plain', 'hello');
";

/// Runs a chapter from top to bottom.
fn run(name: &str) {
    let page = Page::named(name);
    let mut stage = Stage::new();
    stage.file("kamailio.sql", DUMP);
    for block in &page.blocks {
        println!("{name}:{}: {}", block.line, block.kind);
        match block.kind.as_str() {
            "sh" => stage.shell(block),
            "chat" => stage.chat(block),
            "sql" => stage.sql(block),
            "toml" => stage.configuration(block, false),
            "toml now" => stage.configuration(block, true),
            "kamailio" | "opensips" | "ini" | "xml" => is_in_an_example(block),
            "promql" | "yaml" => asks_for_what_is_there(block, &stage),
            "console" => assert!(
                block.lines.first().is_some_and(|first| NOT_RUN.iter().any(|(line, _)| line == first)),
                "{name}:{}: is not run, and this test has no reason for it",
                block.line
            ),
            other => panic!("{name}:{}: a block of kind {other:?}", block.line),
        }
    }
}

/// Lines for another program stand, one after the other, in a file of `examples/`, which is run with that program.
fn is_in_an_example(block: &Block) {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let wanted = trimmed(&block.lines.join("\n"));
    let mut texts = Vec::new();
    every_file(&root().join("examples"), &mut |path| {
        texts.push(std::fs::read_to_string(path).expect("an example is text"))
    });
    assert!(
        texts.iter().any(|text| trimmed(text).contains(&wanted)),
        "line {}: is in no example:\n{wanted}",
        block.line
    );
}

fn every_file(dir: &Path, seen: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { every_file(&path, seen) } else { seen(&path) }
    }
}

/// Names of metrics on the page of a running daemon.
fn metrics(stage: &Stage) -> BTreeSet<String> {
    let page = ask(stage.door(), "GET", "/metrics", &[], b"").text();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    types.map(str::to_owned).collect()
}

/// A question to Prometheus names metrics that exist; of a histogram, its parts.
fn asks_for_what_is_there(block: &Block, stage: &Stage) {
    let known = metrics(stage);
    let text = block.lines.join("\n");
    let names = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    for name in names.filter(|name| name.starts_with("imcd_")) {
        let parts = ["_bucket", "_sum", "_count", ""];
        let is_there = |part| name.strip_suffix(part).is_some_and(|name| known.contains(name));
        assert!(parts.into_iter().any(is_there), "line {}: there is no {name}", block.line);
    }
}

#[test]
fn every_page_is_run_here_or_has_a_reason() {
    let listed = |name: &str| {
        CHAPTERS.contains(&name)
            || RUN_ELSEWHERE.iter().any(|(known, reason)| *known == name && reason.len() > 10)
    };
    let pages = pages();
    for page in &pages {
        assert!(listed(&page.name), "docs/{} is run by no test", page.name);
    }
    for (line, reason) in NOT_RUN {
        let shown = |block: &Block| block.kind == "console" && block.lines.first().is_some_and(|l| l == line);
        let there = pages.iter().any(|page| page.blocks.iter().any(shown));
        assert!(there && reason.len() > 10, "{line:?} is listed, and not in the manual");
    }
    let index = Page::named("README.md");
    for page in pages.iter().filter(|page| page.name != "README.md") {
        let leads = index.links().into_iter().filter(|link| *link == page.name).count();
        assert_eq!(leads, 1, "docs/README.md leads to {} so often", page.name);
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        for link in page.links().into_iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = root().join("docs").join(if file.is_empty() { &page.name } else { file });
            assert!(path.exists(), "docs/{}: {link} is not there", page.name);
            let slug = |line: &str| {
                let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect::<String>()
            };
            let there = || {
                std::fs::read_to_string(&path)
                    .expect("text")
                    .lines()
                    .any(|l| l.starts_with('#') && slug(l) == heading)
            };
            assert!(heading.is_empty() || there(), "docs/{}: {link}: no such heading", page.name);
        }
    }
}

/// `section.key` in the text is a key of the configuration, or a method of management.
#[test]
fn what_the_text_names_exists() {
    let configuration = std::fs::read_to_string(root().join("etc/imcd.toml")).expect("it is there");
    let mut sections = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut section = "";
    for line in configuration.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            sections.insert(name);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    let stage = Stage::new();
    for page in pages() {
        for code in page.code() {
            if code.split_once('.').is_some_and(|(section, key)| {
                sections.contains(section) && key.bytes().all(|c| c == b'_' || c.is_ascii_alphanumeric())
            }) {
                let other = || OTHER_NAMES.iter().any(|(name, _)| *name == code);
                let known = keys.contains(code) || other() || stage.run(&format!("imcctl {code} --help")).1;
                assert!(known, "docs/{}: there is no {code}", page.name);
            }
            if let Some(words) = code.strip_prefix("imcctl ") {
                let verb = |word: &&str| word.bytes().all(|c| c.is_ascii_lowercase() || b"_.".contains(&c));
                let words: Vec<&str> = words.split(' ').take(2).take_while(verb).collect();
                let (told, known) = stage.run(&format!("imcctl {} --help", words.join(" ")));
                assert!(known, "docs/{}: {code}: {told}", page.name);
            }
        }
    }
}

/// Each metric has its row, and there is no row of one that is gone.
#[test]
fn every_metric_is_explained() {
    let known = metrics(&Stage::new());
    let page = Page::named("monitoring.md");
    let told: BTreeSet<String> =
        page.column("metric").iter().map(|cell| cell.trim_matches('`').to_owned()).collect();
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(known, told);
}

/// What is quoted of the log, and what phones are answered, is in the sources: in these words.
#[test]
fn what_is_quoted_is_said() {
    let mut sources = String::new();
    every_file(&root().join("src"), &mut |path| {
        sources.push_str(&std::fs::read_to_string(path).expect("sources are text"))
    });
    let page = Page::named("trouble.md");
    let (lines, answers) = (page.column("log line"), page.column("answer"));
    assert!(lines.len() > 10 && answers.len() > 10, "the tables are there");
    for cell in lines {
        for part in cell.trim_matches('`').split('…').map(str::trim).filter(|part| !part.is_empty()) {
            assert!(sources.contains(part), "no log line says {part:?}");
        }
    }
    for cell in answers {
        let (status, reason) = cell.trim_matches('`').split_once(' ').expect("a status and a reason");
        let written = format!("{status} \"{reason}\"");
        assert!(sources.contains(&written), "nobody is answered {written}");
    }
}

/// What people can type is in the manual, and so is every noun of management.
#[test]
fn every_command_of_people_and_every_noun_is_told() {
    let mut told = String::new();
    for page in pages() {
        let lines = page.blocks.iter().flat_map(|block| &block.lines).map(String::as_str);
        let prose = page.prose.iter().map(String::as_str);
        lines.chain(prose).for_each(|line| told.extend([line, "\n"]));
    }
    let daemon = Daemon::open();
    let alice = daemon.udp("alice");
    alice.expect(202, "chat-manager", "#help");
    let help = alice.until("help for rooms and for oneself", |all| {
        let texts: String = all.iter().map(|got| got.msg.text()).collect();
        ["#create", "#settings", "#status"].iter().all(|word| texts.contains(word))
    });
    let help: String = help.iter().map(|got| got.msg.text()).collect();
    let words = help.split_whitespace().filter(|word| word.starts_with('#'));
    let missing: BTreeSet<&str> = words.filter(|word| !told.contains(word)).collect();
    assert!(missing.is_empty(), "the manual does not tell of {missing:?}");
    let methods = Stage::new().run("imcctl which").0;
    let nouns: BTreeSet<&str> =
        methods.lines().filter_map(|line| Some(line.trim().split_once('.')?.0)).collect();
    assert!(nouns.len() > 8, "{methods}");
    let missing: Vec<&&str> =
        nouns.iter().filter(|noun| !told.contains(&format!("imcctl {noun} "))).collect();
    assert!(missing.is_empty(), "the manual does not tell of imcctl {missing:?}");
}
