//! A chapter of the manual as the tests read it: fenced blocks, code in the text, tables, links.
//!
//! Reads as much Markdown as the manual uses. Prevents that a block is passed over because its fence was not
//! understood. Never runs anything.

use std::path::{Path, PathBuf};

/// A fenced block.
pub struct Block {
    /// What stands behind the fence.
    pub kind: String,
    /// Number of the fence's line, for messages.
    pub line: usize,
    pub lines: Vec<String>,
}

/// A command and what the page says that it prints; `None`: the page does not say.
pub struct Step {
    pub command: String,
    pub prints: Option<String>,
}

pub struct Page {
    pub name: String,
    pub blocks: Vec<Block>,
    /// Everything outside the blocks.
    pub prose: Vec<String>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages of `docs/`, by name.
pub fn pages() -> Vec<Page> {
    let entries = std::fs::read_dir(root().join("docs")).expect("docs/ is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "md"));
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

impl Page {
    pub fn named(name: &str) -> Page {
        Page::read(&root().join("docs").join(name))
    }

    fn read(path: &Path) -> Page {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        Page::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Page {
        let mut page = Page { name: name.into(), blocks: Vec::new(), prose: Vec::new() };
        let mut open: Option<Block> = None;
        for (i, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(kind), None) => {
                    open = Some(Block { kind: kind.trim().into(), line: i + 1, lines: Vec::new() });
                }
                (Some(_), Some(block)) => page.blocks.push(block),
                (None, Some(mut block)) => {
                    block.lines.push(line.into());
                    open = Some(block);
                }
                (None, None) => {
                    assert!(!line.trim_start().starts_with("```"), "{name}:{}: an indented fence", i + 1);
                    page.prose.push(line.into());
                }
            }
        }
        assert!(open.is_none(), "{name}: a block has no end");
        page
    }

    /// What stands in backquotes outside the blocks.
    pub fn code(&self) -> Vec<&str> {
        self.prose.iter().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
    }

    /// First cells of the tables whose first column is headed so.
    pub fn column(&self, heading: &str) -> Vec<&str> {
        let head = format!("| {heading} |");
        let mut within = false;
        let mut cells = Vec::new();
        for line in &self.prose {
            if line.starts_with(&head) {
                within = true;
            } else if !line.starts_with('|') {
                within = false;
            } else if within && !line.starts_with("| -") {
                cells.extend(line.split('|').nth(1).map(str::trim));
            }
        }
        cells
    }

    /// Where its links lead.
    pub fn links(&self) -> Vec<&str> {
        let links = self.prose.iter().flat_map(|line| line.split("](").skip(1));
        links.filter_map(|rest| rest.split(')').next()).collect()
    }
}

impl Block {
    /// Of a block of commands: `$ ` begins one, a backslash at the end of a line continues it.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut continues = false;
        for line in &self.lines {
            let command = line.strip_prefix("$ ").or(continues.then_some(line.as_str()));
            match (command, steps.last_mut()) {
                (Some(more), Some(step)) if continues => {
                    step.command.push('\n');
                    step.command.push_str(more);
                }
                (Some(command), _) => {
                    steps.push(Step { command: command.into(), prints: None });
                }
                (None, Some(step)) => {
                    let prints = step.prints.get_or_insert_default();
                    prints.push_str(line);
                    prints.push('\n');
                }
                (None, None) => panic!("line {}: output without a command", self.line),
            }
            continues = command.is_some_and(|command| command.ends_with('\\'));
        }
        steps
    }
}

/// Whether `text` is what `pattern` says: `…` stands for anything, and how wide a gap is does not matter.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (squeezed(pattern), squeezed(text));
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Each gap a single blank, none at the ends of lines, no empty lines.
fn squeezed(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn blocks_commands_and_code_are_found() {
    let text = "A `b` c `d e`.\n```sh\n$ one\n$ two \\\n  more\nsays\nthis\n```\n| log line | x |\n| --- | --- |\n| `y` | z |\n\n[a](b.md)\n";
    let page = Page::parse("x", text);
    assert_eq!(page.code(), ["b", "d e", "y"]);
    assert_eq!(page.column("log line"), ["`y`"]);
    assert_eq!(page.links(), ["b.md"]);
    let steps = page.blocks[0].steps();
    assert_eq!(page.blocks[0].line, 2);
    assert_eq!((steps[0].command.as_str(), &steps[0].prints), ("one", &None));
    assert_eq!(steps[1].command, "two \\\n  more");
    assert_eq!(steps[1].prints.as_deref(), Some("says\nthis\n"));
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    for (pattern, text) in [
        ("a b", "a   b\n"),
        ("a … d", "a b c d"),
        ("…", ""),
        ("a…", "a\nb"),
        ("…b", "a\nb"),
        ("a\n\nb", "a\nb\n"),
    ] {
        assert!(fits(pattern, text), "{pattern:?} {text:?}");
    }
    for (pattern, text) in [("a", "a b"), ("a … d", "a b"), ("…b", "b c"), ("a b", "ab"), ("a…a", "a")]
    {
        assert!(!fits(pattern, text), "{pattern:?} {text:?}");
    }
}
