//! A config and env files that change while devwatch runs, and the shape of the lines that it prints.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use regex::Regex;

use crate::project::{
    Devwatch, PATIENCE, Project, built_example, eventually, field, free_port, get, port_is_free,
};

/// A project whose config is written anew by the tests: a rule that copies and a server that answers with the copy.
struct Shop {
    project: Project,
    port: u16,
}

const COPY: &str = r#"
[[rule]]
name = "copy"
files = ["source.txt"]
run = ["cp", "source.txt", "built.txt"]
outputs = ["built.txt"]
"#;

impl Shop {
    fn new() -> Shop {
        let shop = Shop {
            project: Project::new(),
            port: free_port(),
        };
        shop.project.write("source.txt", "one");
        shop.configure(COPY, &shop.server(""));
        shop
    }

    /// `[server]` with a socket of its own; it prints the variable GREETING when it starts.
    fn server(&self, keys: &str) -> String {
        self.server_on(&format!("127.0.0.1:{}", self.port), keys)
    }

    fn server_on(&self, address: &str, keys: &str) -> String {
        let child = built_example("child");
        let (child, root) = (child.display(), self.project.root().display());
        format!(
            "[server]\nrun = [\"{child}\", \"tag\", \"{root}\", \"env\", \"GREETING\", \"listen\", \"{address}\", \"serve-file\", \"built.txt\"]\n{keys}\n"
        )
    }

    fn configure(&self, rules: &str, server: &str) {
        self.project
            .write("devwatch.toml", &format!("{rules}\n{server}"));
    }

    fn started(&self) -> Devwatch {
        let mut devwatch = self.project.devwatch(&[]);
        devwatch.end("serving");
        self.answers("one");
        devwatch
    }

    #[track_caller]
    fn answers(&self, text: &str) {
        assert_eq!(get(self.port).expect("an answer"), text);
    }
}

/// Ends devwatch and judges everything that it printed.
#[track_caller]
fn end(devwatch: Devwatch) {
    end_with(devwatch, 143);
}

#[track_caller]
fn end_with(mut devwatch: Devwatch, code: i32) {
    devwatch.signal(Signal::SIGTERM);
    assert_eq!(devwatch.ended().code(), Some(code));
    let story = devwatch.story();
    well_formed(devwatch.said()).unwrap_or_else(|what| panic!("{what}\n{story}"));
}

// --- what a valid edit does ---

#[test]
fn a_rule_that_is_added_is_in_force() {
    let shop = Shop::new();
    shop.project.write("notes/a.md", "hello");
    let mut devwatch = shop.started();
    let added = r#"
[[rule]]
name = "notes"
files = ["notes/*.md"]
run = ["cp", "notes/a.md", "a.html"]
then = "nothing"
"#;
    shop.configure(&format!("{COPY}{added}"), &shop.server(""));
    devwatch.line("begin (1 file: devwatch.toml)");
    devwatch.end("unchanged");
    assert_eq!(shop.project.read("a.html"), "hello");
    shop.project.write("notes/a.md", "hello again");
    devwatch.line("begin (1 file: notes/a.md)");
    devwatch.end("ok");
    assert_eq!(shop.project.read("a.html"), "hello again");
    end(devwatch);
}

#[test]
fn a_rule_command_that_is_changed_runs_and_what_it_wrote_is_served() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    let upper = COPY.replace(
        r#"["cp", "source.txt", "built.txt"]"#,
        "\"tr a-z A-Z < source.txt > built.txt\"",
    );
    shop.configure(&upper, &shop.server(""));
    let line = devwatch.end("serving");
    assert_eq!(field(&line, "restart"), Some("cold"), "{line}");
    shop.answers("ONE");
    end(devwatch);
}

#[test]
fn a_server_environment_that_is_changed_restarts_the_server() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    shop.configure(COPY, &shop.server("env = { GREETING = \"salut\" }"));
    devwatch.line("GREETING=salut");
    let line = devwatch.end("serving");
    assert_eq!(field(&line, "gen"), Some("2"), "{line}");
    shop.answers("one");
    end(devwatch);
}

#[test]
fn an_edit_that_concerns_only_watching_leaves_the_server_alone() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    shop.configure(
        &format!("[watch]\ndebounce = \"5ms\"\n{COPY}"),
        &shop.server(""),
    );
    let line = devwatch.end("unchanged");
    assert_eq!(field(&line, "gen"), Some("1"), "{line}");
    shop.answers("one");
    // It is watched on.
    shop.project.write("source.txt", "two");
    devwatch.end("serving");
    shop.answers("two");
    end(devwatch);
}

#[test]
fn a_folder_that_an_edit_ignores_is_watched_no_more_and_again() {
    let shop = Shop::new();
    let everything = "[[rule]]\nfiles = [\"lib/**\"]\n";
    let rules = format!("{COPY}{everything}");
    shop.configure(&rules, &shop.server(""));
    shop.project.write("lib/a/x", "");
    let mut devwatch = shop.started();
    shop.configure(
        &format!("[watch]\nignore = [\"lib/a/\"]\n{rules}"),
        &shop.server(""),
    );
    devwatch.line("begin (1 file: devwatch.toml)");
    devwatch.end("serving");
    shop.project.write("lib/a/x", "ignored");
    shop.project.write("lib/b", "seen");
    devwatch.line("begin (1 file: lib/b)");
    devwatch.end("serving");
    shop.configure(&rules, &shop.server(""));
    devwatch.line("begin (1 file: devwatch.toml)");
    devwatch.end("serving");
    shop.project.write("lib/a/x", "seen");
    devwatch.line("begin (1 file: lib/a/x)");
    devwatch.end("serving");
    end(devwatch);
}

#[test]
fn a_held_address_that_is_changed_is_let_go_and_the_new_one_answers() {
    let shop = Shop::new();
    let other = free_port();
    let held = |port: u16| shop.server_on("fd", &format!("listen = [\"127.0.0.1:{port}\"]"));
    shop.configure(COPY, &held(shop.port));
    let mut devwatch = shop.started();
    shop.configure(COPY, &held(other));
    let line = devwatch.end("serving");
    assert!(
        line.contains(&format!("url=http://127.0.0.1:{other}/")),
        "{line}"
    );
    assert_eq!(get(other).expect("an answer"), "one");
    assert!(
        eventually(PATIENCE, || port_is_free(shop.port)),
        "the earlier address is still held"
    );
    // One that somebody else has: said, and the earlier one serves on.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = (taken.local_addr().expect("its address").port(), taken);
    shop.configure(COPY, &held(taken.0));
    let note = devwatch.line("the earlier sockets stay");
    assert!(
        note.contains(&format!("127.0.0.1:{}", taken.0))
            && note.contains(&std::process::id().to_string()),
        "{note}"
    );
    devwatch.end("serving");
    assert_eq!(get(other).expect("an answer"), "one");
    end(devwatch);
}

#[test]
fn a_server_that_is_taken_out_stops_and_one_that_is_put_in_starts() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    shop.configure(COPY, "");
    devwatch.end("ok");
    assert!(eventually(PATIENCE, || port_is_free(shop.port)));
    shop.project.write("source.txt", "two");
    devwatch.end("ok");
    assert_eq!(shop.project.read("built.txt"), "two");
    shop.configure(COPY, &shop.server(""));
    devwatch.end("serving");
    shop.answers("two");
    end(devwatch);
}

#[test]
fn an_edit_during_a_build_takes_over() {
    let shop = Shop::new();
    let child = built_example("child");
    let slow = COPY.replace(
        r#"["cp", "source.txt", "built.txt"]"#,
        &format!(
            r#"["{}", "tag", "{}", "print", "building", "wait-file", "go", "copy", "source.txt", "built.txt"]"#,
            child.display(),
            shop.project.root().display()
        ),
    );
    shop.configure(&slow, &shop.server(""));
    let mut devwatch = shop.project.devwatch(&[]);
    devwatch.line("building");
    // An invalid one does not disturb it.
    shop.configure(&slow, "[sever]\n");
    devwatch.line("is not applied");
    shop.configure(COPY, &shop.server(""));
    devwatch.line("build 1 end superseded");
    devwatch.line("build 2 begin");
    devwatch.end("serving");
    shop.answers("one");
    end(devwatch);
}

#[test]
fn many_edits_in_a_row_end_with_the_last() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    for round in 0..20 {
        shop.configure(
            COPY,
            &shop.server(&format!("env = {{ GREETING = \"round {round}\" }}")),
        );
    }
    devwatch.line("GREETING=round 19");
    devwatch.end("serving");
    shop.answers("one");
    end(devwatch);
}

// --- how it is edited ---

#[test]
fn an_invalid_edit_keeps_the_earlier_config_and_says_where_it_is_wrong() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    let config = shop.project.read("devwatch.toml");
    shop.project.write(
        "devwatch.toml",
        &format!("{config}restrat = \"cold\"\nfoo = 1\n"),
    );
    let at = config.lines().count() + 1;
    let path = shop.project.path("devwatch.toml");
    let problem = |line: usize| format!("devwatch: {}:{line}:1: error: ", path.display());
    let first = devwatch.line("error:");
    assert!(first.starts_with(&problem(at)), "{first}");
    assert!(first.ends_with("did you mean `restart`?"), "{first}");
    let second = devwatch.line("error:");
    assert!(second.starts_with(&problem(at + 1)), "{second}");
    assert_eq!(
        devwatch.line("note:"),
        "devwatch: note: devwatch.toml is not applied; the earlier config holds"
    );
    let editor = Regex::new(PROBLEM_PATTERN).expect("a good pattern");
    for line in [&first, &second] {
        let found = editor.captures(line).expect("an editor reads it");
        assert_eq!(&found[1], path.to_str().expect("a path"));
        assert_eq!(&found[4], "error");
    }
    shop.project.write("source.txt", "two");
    devwatch.end("serving");
    shop.answers("two");
    shop.configure(COPY, &shop.server("env = { GREETING = \"right\" }"));
    devwatch.line("GREETING=right");
    devwatch.end("serving");
    end(devwatch);
}

#[test]
fn a_config_that_is_renamed_over_is_read() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    for round in 0..3 {
        // As vim does it with `backupcopy=no`, and as `sed -i` does it.
        let rules = shop.server(&format!("env = {{ GREETING = \"round {round}\" }}"));
        shop.project
            .write("devwatch.toml.new", &format!("{COPY}\n{rules}"));
        if round != 1 {
            fs::rename(
                shop.project.path("devwatch.toml"),
                shop.project.path("devwatch.toml~"),
            )
            .expect("moved away");
        }
        fs::rename(
            shop.project.path("devwatch.toml.new"),
            shop.project.path("devwatch.toml"),
        )
        .expect("moved over");
        devwatch.line(&format!("GREETING=round {round}"));
        devwatch.end("serving");
    }
    let said = devwatch.said().join("\n");
    assert!(!said.contains("cannot read"), "{said}");
    end(devwatch);
}

#[test]
fn a_config_that_is_deleted_stays_in_force_until_it_is_there_again() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    fs::remove_file(shop.project.path("devwatch.toml")).expect("removed");
    let note = devwatch.line("note:");
    assert!(note.contains("the earlier config holds"), "{note}");
    shop.project.write("source.txt", "two");
    devwatch.end("serving");
    shop.answers("two");
    shop.configure(COPY, &shop.server("env = { GREETING = \"back\" }"));
    devwatch.line("GREETING=back");
    devwatch.end("serving");
    end(devwatch);
}

#[test]
fn a_config_that_is_a_link_is_read_when_its_target_changes() {
    let shop = Shop::new();
    fs::create_dir(shop.project.path("dotfiles")).expect("a folder");
    let target = shop.project.path("dotfiles/mine.toml");
    fs::rename(shop.project.path("devwatch.toml"), &target).expect("moved");
    std::os::unix::fs::symlink(&target, shop.project.path("devwatch.toml")).expect("a link");
    let mut devwatch = shop.started();
    let server = shop.server("env = { GREETING = \"linked\" }");
    fs::write(&target, format!("{COPY}\n{server}")).expect("written");
    devwatch.line("GREETING=linked");
    devwatch.end("serving");
    end(devwatch);
}

// --- env files ---

#[test]
fn an_env_file_that_changes_restarts_the_server_with_it() {
    let shop = Shop::new();
    shop.configure(COPY, &shop.server("env_file = \"dev.env\""));
    let mut devwatch = shop.project.devwatch(&[]);
    devwatch.line("GREETING unset");
    devwatch.end("serving");
    for greeting in ["hello", "hello again"] {
        shop.project
            .write("dev.env", &format!("# who\nGREETING=\"{greeting}\"\n"));
        devwatch.line("begin (1 file: dev.env)");
        devwatch.line(&format!("GREETING={greeting}"));
        let line = devwatch.end("serving");
        assert_eq!(field(&line, "restart"), Some("cold"), "{line}");
    }
    fs::remove_file(shop.project.path("dev.env")).expect("removed");
    devwatch.line("GREETING unset");
    devwatch.end("serving");
    end(devwatch);
}

#[test]
fn an_env_file_with_a_bad_line_is_reported_with_its_place() {
    let shop = Shop::new();
    shop.configure(COPY, &shop.server("env_file = \"dev.env\""));
    let mut devwatch = shop.started();
    shop.project.write("dev.env", "A=1\nB C=2\n");
    let line = devwatch.end("crashed");
    assert!(
        line.contains(&format!("{}:2: ", shop.project.path("dev.env").display())),
        "{line}"
    );
    shop.project.write("dev.env", "A=1\nGREETING=fixed\n");
    devwatch.line("GREETING=fixed");
    devwatch.end("serving");
    shop.answers("one");
    end(devwatch);
}

// --- lines ---

/// What an editor's problem matcher is told to look for.
const PROBLEM_PATTERN: &str =
    r"^devwatch: (.+?):(\d+):(?:(\d+):)? (error|warning|info): (.*?)(?: \[([^\]]+)\])?$";
const BEGINS_PATTERN: &str = r"^devwatch: build \d+ begin\b";
const ENDS_PATTERN: &str =
    r"^devwatch: build \d+ end (?:serving|ok|failed|crashed|superseded|unchanged)\b";

/// Cycles are numbered from 1, each has one begin and one end, and both have the shape that scripts rely on.
fn well_formed(lines: &[String]) -> Result<(), String> {
    let regex = |pattern: &str| Regex::new(pattern).expect("a good pattern");
    let time = r"(\d+ms|\d+\.\d\ds|\d+m\d\ds)";
    let exit = r"(\d+|SIG[A-Z0-9]+)";
    let text = r#""([^"\\]|\\.)*""#;
    let begin =
        regex(r"^devwatch: build (\d+) begin \((start|request|crash|1 file: .+|\d+ files: .+)\)$");
    let shapes = [
        format!(
            r" end serving {time} gen=\d+( pid=\d+)?( old=\d+)?( restart=(cold|hold))? ready=(proven|notified|assumed) accept={time}( gap={time})?( url=\S+)?$"
        ),
        format!(r" end ok {time}( gen=\d+ exit=0)?$"),
        format!(r" end unchanged {time} gen=\d+$"),
        format!(
            r" end failed {time} rule=(\S+|{text})( exit={exit})?( reason={text})? serving=(gen\d+|none)$"
        ),
        format!(
            r" end crashed {time} gen=\d+( exit={exit})?( reason={text})? serving=none( retry={time})?( last={text})?$"
        ),
        format!(r" end superseded {time}$"),
    ];
    let end = regex(&format!(
        r"^devwatch: build (\d+)({})",
        shapes.join("|").replace("$|", "|")
    ));
    let (begins, ends) = (regex(BEGINS_PATTERN), regex(ENDS_PATTERN));
    let mut expected = 1;
    let mut open = false;
    for line in lines
        .iter()
        .filter(|line| line.starts_with("devwatch: build "))
    {
        let (shape, pattern) = if open {
            (&end, &ends)
        } else {
            (&begin, &begins)
        };
        let found = shape
            .captures(line)
            .ok_or_else(|| format!("not the shape of {shape}: {line}"))?;
        if found[1] != expected.to_string() || !pattern.is_match(line) {
            return Err(format!("build {expected} was to come, not {line}"));
        }
        expected += u64::from(open);
        open = !open;
    }
    for line in lines.iter().filter(|line| line.contains("devwatch: ")) {
        if !line.starts_with("devwatch: ") {
            return Err(format!("a line begins inside another: {line}"));
        }
    }
    if open {
        return Err(format!("build {expected} has no end"));
    }
    Ok(())
}

#[test]
fn every_end_word_has_its_shape_and_its_begin() {
    let shop = Shop::new();
    let child = built_example("child");
    let rules = format!(
        "{COPY}{}{}",
        "[[rule]]\nname = \"two words\"\nfiles = [\"check.txt\"]\nrun = \"! grep -q bad check.txt\"\nthen = \"nothing\"\n",
        format_args!(
            "[[rule]]\nname = \"slow\"\nfiles = [\"slow.txt\"]\nrun = [\"{}\", \"tag\", \"{}\", \"print\", \"waiting\", \"wait-file\", \"go\"]\nthen = \"nothing\"\n",
            child.display(),
            shop.project.root().display()
        ),
    );
    shop.project.write("go", "");
    shop.project.write("check.txt", "good");
    shop.configure(&rules, &shop.server("env = { GREETING = \"a\" }"));
    let mut devwatch = shop.started();
    shop.project.write("check.txt", "still good");
    devwatch.end("ok");
    shop.project.write("check.txt", "bad");
    let line = devwatch.end("failed");
    assert!(
        line.ends_with(" rule=\"two words\" exit=1 serving=gen1"),
        "{line}"
    );
    shop.project.write("check.txt", "good");
    devwatch.end("ok");
    shop.configure(
        &format!("# the same\n{rules}"),
        &shop.server("env = { GREETING = \"a\" }"),
    );
    devwatch.end("unchanged");
    fs::remove_file(shop.project.path("go")).expect("removed");
    shop.project.write("slow.txt", "1");
    devwatch.line("waiting");
    shop.project.write("slow.txt", "2");
    devwatch.line("end superseded");
    devwatch.line("waiting");
    shop.project.write("go", "");
    devwatch.end("ok");
    let crashing = format!(
        "[server]\nrun = [\"{}\", \"eprint\", \"quoted \\\" and\\u001b[31m red\", \"exit\", \"7\"]\n",
        child.display()
    );
    shop.configure(&rules, &crashing);
    let line = devwatch.end("crashed");
    assert!(line.contains(" exit=7 serving=none"), "{line}");
    assert!(!line.contains('\u{1b}'), "{line:?}");
    shop.configure(&rules, "[server]\nrun = [\"true\"]\n");
    devwatch.line("exit=0");
    shop.configure(&rules, "");
    devwatch.end("ok");
    end(devwatch);
}

#[test]
fn a_line_of_devwatch_begins_at_the_start_of_a_line() {
    // What the rule and then the server print: who leaves a line open is not who closes it.
    for (rule, server) in [
        ("no end", "a line\\nand no end"),
        ("no end", "a whole line\\n"),
        ("", "no end"),
        ("a whole line\\n", ""),
    ] {
        let shop = Shop::new();
        let child = built_example("child");
        let prompting = COPY.replace(
            r#"["cp", "source.txt", "built.txt"]"#,
            &format!("\"cp source.txt built.txt; printf '{rule}'\""),
        );
        // The child says `listening`, which would close the line.
        let serving = format!(
            "[server]\nrun = \"{} listen 127.0.0.1:{} serve-file built.txt tag {} > /dev/null & printf '{server}'; wait\"\n",
            child.display(),
            shop.port,
            shop.project.root().display()
        );
        shop.configure(&prompting, &serving);
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" 2>&1", env!("CARGO_BIN_EXE_devwatch")])
            .current_dir(shop.project.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut devwatch = Devwatch::run(command);
        devwatch.end("serving");
        for text in ["two", "three"] {
            shop.project.write("source.txt", text);
            devwatch.end("serving");
            shop.answers(text);
        }
        // A line end is added where one is missing, and only there.
        let story = devwatch.story();
        assert!(!devwatch.said().iter().any(String::is_empty), "{story}");
        end(devwatch);
    }
}

#[test]
fn file_names_cannot_forge_lines() {
    let shop = Shop::new();
    let rules =
        format!("{COPY}[[rule]]\nname = \"all\"\nfiles = [\"odd/**\"]\nthen = \"restart\"\n");
    shop.configure(&rules, &shop.server(""));
    let mut devwatch = shop.started();
    let names: [&[u8]; 9] = [
        b"a\ndevwatch: build 99 end ok 1ms",
        b"b\r\x1b[2Jdevwatch: build 98 begin (start)",
        b"c\xff\xfe",
        b"d\xe2\x80\xaetxt",
        b"e\xc2\x9b31m",
        b"f\tg, h)",
        b"g\x1b]0;title\x07",
        b"-rf",
        b"$(touch INJECTED)",
    ];
    let folder = shop.project.path("odd");
    fs::create_dir(&folder).expect("a folder");
    for name in names {
        fs::write(folder.join(OsStr::from_bytes(name)), name).expect("written");
        let line = devwatch.line("begin (1 file: odd/");
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
        devwatch.end("serving");
    }
    assert!(!shop.project.path("INJECTED").exists());
    end(devwatch);
}

#[test]
fn a_checkout_of_many_files_is_one_line_of_a_readable_length() {
    let shop = Shop::new();
    let rules = format!("{COPY}[[rule]]\nfiles = [\"many/**\"]\n");
    shop.configure(&rules, &shop.server(""));
    let mut devwatch = shop.started();
    shop.project.write("elsewhere.tmp/x", "");
    for number in 0..300 {
        shop.project
            .write(&format!("elsewhere.tmp/file-{number:03}"), "x");
    }
    fs::rename(
        shop.project.path("elsewhere.tmp"),
        shop.project.path("many"),
    )
    .expect("moved");
    let line = devwatch.line("begin (301 files: many/");
    assert!(line.ends_with(", ...)") && line.len() < 400, "{line}");
    devwatch.end("serving");
    end(devwatch);
}

#[test]
fn nothing_is_printed_for_changes_that_belong_to_no_rule() {
    let shop = Shop::new();
    let mut devwatch = shop.started();
    let before = devwatch.said().len();
    shop.project.write("unrelated.txt", "x");
    shop.project.write("source.txt", "one");
    let touched = fs::File::open(shop.project.path("source.txt")).expect("it is there");
    let later = fs::metadata(shop.project.path("source.txt"))
        .and_then(|meta| meta.modified())
        .expect("its time")
        + Duration::from_secs(60);
    touched.set_modified(later).expect("touched");
    shop.configure(COPY, &shop.server(""));
    shop.project.write("source.txt", "two");
    devwatch.end("serving");
    let lines = devwatch.said()[before..].to_vec();
    let cycles = lines.iter().filter(|line| line.contains(" begin ")).count();
    assert_eq!(cycles, 1, "{lines:#?}");
    end(devwatch);
}
