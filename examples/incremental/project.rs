//! A Go project of a hundred files, and the edits that are made in it.
//!
//! Every file has a word, and the server answers with all of them: what it says is what it was built from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use crate::Outcome;

const PACKAGES: usize = 10;
/// In each package.
const FILES: usize = 10;
/// The one file, of the hundred, that is edited: its package and its number.
const EDITED: (usize, usize) = (5, 3);

/// What the build writes, in the folder of the project.
pub(crate) const PROGRAM: &str = ".devwatch/bin/app";
/// A line in here for each run of the build, by itself: so that what ran is known without asking who ran it.
const RUNS: &str = ".devwatch/runs";

/// What happens between two builds. Whoever undoes one leaves the tree as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// A file is written with what is in it.
    SameBytes,
    /// A file gets another time.
    Touch,
    /// Another comment at the end of a line.
    Comment,
    /// Another word, in one file.
    OneLine,
    /// The word that was there before.
    Undo,
    /// `git switch`: another word in each file.
    Branch,
    /// `git switch` to where it came from.
    BranchBack,
}

impl Edit {
    pub(crate) fn name(self) -> String {
        match self {
            Edit::SameBytes => "same bytes saved".to_owned(),
            Edit::Touch => "touch".to_owned(),
            Edit::Comment => "comment, -buildid=".to_owned(),
            Edit::OneLine => "one line".to_owned(),
            Edit::Undo => "undo of it".to_owned(),
            Edit::Branch => format!("branch, {} files", PACKAGES * FILES),
            Edit::BranchBack => "back again".to_owned(),
        }
    }
}

/// A copy of the project, for one contender. What is new in a round is new for each: they share Go's cache of
/// compiled packages, and none is to find there what another has just compiled.
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    owner: &'static str,
}

impl Project {
    /// Written, committed, and with a branch for each round.
    pub(crate) fn create(place: &Path, owner: &'static str, rounds: usize) -> Outcome<Project> {
        let root = place.join(owner);
        fs::create_dir(&root)?;
        let project = Project { root, owner };
        project.write("go.mod", "module example.com/shop\n\ngo 1.21\n")?;
        project.write("main.go", &main_go())?;
        project.write(".gitignore", ".devwatch/\n")?;
        fs::create_dir_all(project.root.join(".devwatch/bin"))?;
        project.configure("")?;
        project.words("plain")?;
        project.git(&["init", "-q", "-b", "main"])?;
        project.git(&["add", "."])?;
        project.git(&["commit", "-q", "-m", "plain"])?;
        for round in 0..rounds {
            project.git(&["switch", "-q", "-c", &format!("work-{round}")])?;
            project.words(&project.word(Edit::Branch, round))?;
            project.git(&["commit", "-q", "-a", "-m", "words"])?;
            project.git(&["switch", "-q", "main"])?;
        }
        Ok(project)
    }

    /// From now on `go build` has these `flags`, for all three alike.
    pub(crate) fn configure(&self, flags: &str) -> Outcome {
        let line = build_line(flags);
        self.write(
            "Makefile",
            &format!("{PROGRAM}: Makefile go.mod $(wildcard *.go internal/*/*.go)\n\t@{line}\n"),
        )?;
        self.write("build.sh", &format!("{line}\n"))?;
        self.write(
            "devwatch.toml",
            &format!(
                "[[rule]]\nname = \"build\"\nfiles = [\"**/*.go\", \"go.mod\"]\nrun = \"{line}\"\noutputs = [\"{PROGRAM}\"]\n\
                 [server]\nrun = [\"{PROGRAM}\"]\nlisten = [\"127.0.0.1:0\"]\n"
            ),
        )
    }

    /// Does it. When it was done: the file closed, or git at its end.
    pub(crate) fn edit(&self, edit: Edit, round: usize) -> Outcome<Instant> {
        let (package, file) = EDITED;
        let path = path(package, file);
        match edit {
            Edit::SameBytes => {
                let content = fs::read_to_string(self.root.join(&path))?;
                self.write(&path, &content)?;
            }
            Edit::Touch => {
                let file = File::options().append(true).open(self.root.join(&path))?;
                file.set_modified(SystemTime::now())?;
            }
            Edit::Comment => {
                let comment = format!("round {round} of {}", self.owner);
                self.write(&path, &source(package, file, "plain", &comment))?;
            }
            Edit::OneLine | Edit::Undo => {
                let word = self.word(edit, round);
                self.write(&path, &source(package, file, &word, "as ever"))?;
            }
            Edit::Branch => self.git(&["switch", "-q", &format!("work-{round}")])?,
            Edit::BranchBack => self.git(&["switch", "-q", "main"])?,
        }
        Ok(Instant::now())
    }

    /// What the server answers after that.
    pub(crate) fn answer(&self, edit: Edit, round: usize) -> String {
        let word = self.word(edit, round);
        let mut answer = String::new();
        for package in 0..PACKAGES {
            for file in 0..FILES {
                let here = edit == Edit::Branch || (package, file) == EDITED;
                answer.push_str(if here { &word } else { "plain" });
                answer.push(' ');
            }
        }
        answer
    }

    /// How often the build has run since this was last asked.
    pub(crate) fn runs(&self) -> usize {
        let runs = fs::read_to_string(self.root.join(RUNS)).unwrap_or_default();
        let _ = fs::remove_file(self.root.join(RUNS));
        runs.lines().count()
    }

    /// That `edit` puts in the place of another one.
    fn word(&self, edit: Edit, round: usize) -> String {
        match edit {
            Edit::SameBytes | Edit::Touch | Edit::Comment | Edit::Undo | Edit::BranchBack => {
                "plain".to_owned()
            }
            Edit::OneLine => format!("line-{round}-of-{}", self.owner),
            Edit::Branch => format!("branch-{round}-of-{}", self.owner),
        }
    }

    fn words(&self, word: &str) -> Outcome {
        for package in 0..PACKAGES {
            for file in 0..FILES {
                self.write(
                    &path(package, file),
                    &source(package, file, word, "as ever"),
                )?;
            }
            self.write(&format!("internal/p{package}/words.go"), &words_go(package))?;
        }
        Ok(())
    }

    fn write(&self, path: &str, content: &str) -> Outcome {
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, content)?)
    }

    fn git(&self, arguments: &[&str]) -> Outcome {
        let status = Command::new("git")
            .args([
                "-c",
                "user.name=nobody",
                "-c",
                "user.email=nobody@example.com",
            ])
            .args(arguments)
            .current_dir(&self.root)
            // Hooks and signatures of whoever runs this have no part in it.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("git {arguments:?}: {status}").into())
        }
    }
}

/// The build, word for word the same for devwatch, make and the shell. -buildvcs=false: else every commit would be
/// another program.
fn build_line(flags: &str) -> String {
    format!("echo build >> {RUNS}; exec go build -buildvcs=false{flags} -o {PROGRAM} .")
}

fn path(package: usize, file: usize) -> String {
    format!("internal/p{package}/part{file}.go")
}

/// A file of about 60 lines that does what such files do.
fn source(package: usize, file: usize, word: &str, comment: &str) -> String {
    format!(
        r#"package p{package}

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
)

func word{file}() string {{ return "{word}" }} // {comment}

// Item{file} is kept by Store{file}.
type Item{file} struct {{
	Name  string            `json:"name"`
	Price int64             `json:"price"`
	Tags  []string          `json:"tags,omitempty"`
	More  map[string]string `json:"more,omitempty"`
}}

// ErrMissing{file} is returned for a name that nobody has put.
var ErrMissing{file} = errors.New("part {file}: no such item")

// Store{file} keeps items by their names.
type Store{file} struct {{
	mutex sync.Mutex
	items map[string]Item{file}
}}

func (s *Store{file}) Put(item Item{file}) error {{
	if strings.TrimSpace(item.Name) == "" {{
		return fmt.Errorf("part {file}: an item of %d needs a name", item.Price)
	}}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.items == nil {{
		s.items = make(map[string]Item{file})
	}}
	s.items[item.Name] = item
	return nil
}}

func (s *Store{file}) Find(name string) (Item{file}, error) {{
	s.mutex.Lock()
	defer s.mutex.Unlock()
	item, ok := s.items[name]
	if !ok {{
		return Item{file}{{}}, fmt.Errorf("%q: %w", name, ErrMissing{file})
	}}
	return item, nil
}}

func (s *Store{file}) MarshalJSON() ([]byte, error) {{
	s.mutex.Lock()
	defer s.mutex.Unlock()
	items := make([]Item{file}, 0, len(s.items))
	for _, item := range s.items {{
		items = append(items, item)
	}}
	sort.Slice(items, func(i, j int) bool {{ return items[i].Name < items[j].Name }})
	return json.Marshal(items)
}}
"#
    )
}

/// The words of a package, one after the other. The stores are used, or the linker would leave them out.
fn words_go(package: usize) -> String {
    let mut words = String::new();
    let mut stores = String::new();
    for file in 0..FILES {
        words.push_str(&format!("word{file}() + \" \" + "));
        stores.push_str(&format!("new(Store{file}), "));
    }
    format!(
        "package p{package}\n\nimport \"encoding/json\"\n\nfunc Words() string {{ return {words}\"\" }}\n\n\
         func Stores() []json.Marshaler {{ return []json.Marshaler{{ {stores} }} }}\n"
    )
}

/// The server. It takes the socket it is given: descriptor 3 as everybody does it, or the one that is named.
fn main_go() -> String {
    let each = |text: fn(usize) -> String| (0..PACKAGES).map(text).collect::<String>();
    format!(
        r#"package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

{imports})

func main() {{
	descriptor := 3
	if len(os.Args) > 1 {{
		descriptor, _ = strconv.Atoi(os.Args[1])
	}}
	listener, err := net.FileListener(os.NewFile(uintptr(descriptor), "socket"))
	if err != nil {{
		panic(err)
	}}
	pid := strconv.Itoa(os.Getpid())
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {{
		w.Header().Set("Server-Pid", pid)
		io.WriteString(w, {words}"")
	}})
	http.HandleFunc("/stores", func(w http.ResponseWriter, r *http.Request) {{
		var stores []json.Marshaler
{stores}		json.NewEncoder(w).Encode(stores)
	}})
	panic(http.Serve(listener, nil))
}}
"#,
        imports = each(|package| format!("\t\"example.com/shop/internal/p{package}\"\n")),
        words = each(|package| format!("p{package}.Words() + ")),
        stores = each(|package| format!("\t\tstores = append(stores, p{package}.Stores()...)\n")),
    )
}
