//! What is known of servers that hand over by themselves: how to make them fork, and how to play their part.
//!
//! Values only, each tried on the real framework. They come from `[server.hot] preset`; the supervisor sends the
//! signals, and `environment` and the command line take what [`Adopt::arguments`] and [`Adopt::variables`] say. A
//! preset that a project seems to need is suggested, never applied by itself.

use nix::sys::signal::Signal;

/// How servers of one framework hand over.
#[derive(Debug, PartialEq, Eq)]
pub struct Contract {
    /// Its name in `[server.hot] preset`.
    pub name: &'static str,
    /// Mode `self`: the server starts its successor.
    pub own: SelfFork,
    /// Mode `adopt`: devwatch starts it as if it were the old server; nothing where that cannot be played.
    pub adopt: Option<Adopt>,
}

/// How a server is made to start its successor.
#[derive(Debug, PartialEq, Eq)]
pub struct SelfFork {
    /// What makes it fork.
    pub signal: Signal,
    /// Whether the old one sits in an accept that only a connection ends.
    pub poke: bool,
}

/// How to start a successor in the old server's stead.
#[derive(Debug, PartialEq, Eq)]
pub struct Adopt {
    /// Added to the command line; `{fd}` is the first descriptor that it is given.
    arguments: &'static [&'static str],
    /// Set in its environment; `{count}` is how many sockets it is given.
    variables: &'static [(&'static str, &'static str)],
    /// What the successor sends to its parent, the job's keeper, when it is up.
    pub handshake: Signal,
    /// What tells the old one to finish and go.
    pub old_signal: Signal,
}

impl Adopt {
    /// What to add to the end of the command line, for sockets from descriptor `first` on.
    pub fn arguments(&self, first: i32) -> Vec<String> {
        let fd = first.to_string();
        self.arguments
            .iter()
            .map(|argument| argument.replace("{fd}", &fd))
            .collect()
    }

    /// What to set in its environment, over everything else, for `count` sockets from descriptor 3 on.
    pub fn variables(&self, count: usize) -> Vec<(String, String)> {
        let count = count.to_string();
        self.variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.replace("{count}", &count)))
            .collect()
    }
}

/// The contract of this name.
pub fn preset(name: &str) -> Option<&'static Contract> {
    PRESETS.iter().find(|contract| contract.name == name)
}

/// The names of all presets, for messages.
pub fn presets() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|contract| contract.name)
}

/// The preset that a Go project seems to need, by what its `go.mod` requires itself; of several the first. That is a
/// guess: a module may be required for something else.
pub fn suggested(go_mod: &str) -> Option<&'static str> {
    required(go_mod).find_map(|module| {
        let module = without_major_version(module);
        MODULES
            .iter()
            .find(|(path, _)| *path == module)
            .map(|(_, preset)| *preset)
    })
}

const PRESETS: &[Contract] = &[
    Contract {
        name: "falcore",
        // Told to stop, it looks only after one more accept; idle, that was up to 2.7 s.
        own: SelfFork {
            signal: Signal::SIGHUP,
            poke: true,
        },
        adopt: Some(Adopt {
            arguments: &["-socket", "{fd}"],
            variables: &[],
            handshake: Signal::SIGUSR1,
            old_signal: Signal::SIGUSR1,
        }),
    },
    Contract {
        name: "endless",
        own: SelfFork {
            signal: Signal::SIGHUP,
            poke: false,
        },
        adopt: Some(Adopt {
            arguments: &[],
            // Without ENDLESS_SOCKET_ORDER the sockets are taken in the order in which the program makes its servers;
            // the variable would have to hold their addresses as the program spells them.
            variables: &[("ENDLESS_CONTINUE", "1")],
            handshake: Signal::SIGTERM,
            old_signal: Signal::SIGTERM,
        }),
    },
    Contract {
        name: "grace",
        // A successor that crashed has left the socket blocking, and the old one in an accept.
        own: SelfFork {
            signal: Signal::SIGUSR2,
            poke: true,
        },
        adopt: Some(Adopt {
            arguments: &[],
            variables: &[("LISTEN_FDS", "{count}")],
            handshake: Signal::SIGTERM,
            old_signal: Signal::SIGTERM,
        }),
    },
    Contract {
        name: "tableflip",
        own: SelfFork {
            signal: Signal::SIGHUP,
            poke: false,
        },
        // Its sockets come with Go's own serialisation of their names on a pipe, from its parent alone.
        adopt: None,
    },
];

/// Go modules, and the preset for whoever requires them.
const MODULES: &[(&str, &str)] = &[
    ("github.com/fitstar/falcore", "falcore"),
    ("github.com/ngmoco/falcore", "falcore"),
    ("github.com/fvbock/endless", "endless"),
    ("github.com/facebookgo/grace", "grace"),
    ("github.com/facebookarchive/grace", "grace"),
    ("github.com/cloudflare/tableflip", "tableflip"),
];

/// The modules that a `go.mod` requires directly, in order.
fn required(go_mod: &str) -> impl Iterator<Item = &str> {
    let mut block = None;
    go_mod.lines().filter_map(move |line| {
        let (line, comment) = line.split_once("//").unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let module = match block {
            Some(_) if first == ")" => {
                block = None;
                return None;
            }
            Some(verb) => (verb == "require").then_some(first),
            None if words.clone().next() == Some("(") => {
                block = Some(first);
                return None;
            }
            None => (first == "require").then(|| words.next()).flatten(),
        }?;
        // What comes with another module is that one's affair.
        (comment.trim() != "indirect").then_some(module.trim_matches(['"', '`']))
    })
}

/// `example.com/a/v2` is the second major version of `example.com/a`.
fn without_major_version(module: &str) -> &str {
    match module.rsplit_once("/v") {
        Some((path, version)) if version.parse::<u32>().is_ok() => path,
        Some(_) | None => module,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name() {
        for name in presets() {
            assert_eq!(preset(name).map(|contract| contract.name), Some(name));
        }
        assert_eq!(
            presets().collect::<Vec<_>>(),
            ["falcore", "endless", "grace", "tableflip"]
        );
        assert_eq!(preset("Falcore"), None);
        assert!(MODULES.iter().all(|(_, name)| preset(name).is_some()));
    }

    #[test]
    fn a_successor_is_told_where_its_sockets_are() {
        let adopt = |name| {
            let contract = preset(name).expect("a preset");
            let adopt = contract.adopt.as_ref().expect("it can be played");
            (adopt.arguments(3), adopt.variables(2))
        };
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        };
        assert_eq!(
            adopt("falcore"),
            (vec!["-socket".to_owned(), "3".to_owned()], own(&[]))
        );
        assert_eq!(
            adopt("endless"),
            (vec![], own(&[("ENDLESS_CONTINUE", "1")]))
        );
        assert_eq!(adopt("grace"), (vec![], own(&[("LISTEN_FDS", "2")])));
    }

    #[test]
    fn a_preset_is_suggested_by_what_the_project_requires_itself() {
        for (go_mod, preset) in [
            (
                "require github.com/fvbock/endless v0.0.0-2017\n",
                Some("endless"),
            ),
            (
                "require (\n\tgithub.com/cloudflare/tableflip v1.2.3 // why\n)",
                Some("tableflip"),
            ),
            (
                "require ( // all\n  \"github.com/facebookgo/grace\" v0.0.0\n)",
                Some("grace"),
            ),
            (
                "require github.com/fitstar/falcore/v2 v2.0.0",
                Some("falcore"),
            ),
            ("require github.com/fitstar/falcore/vendored v2.0.0", None),
            ("module github.com/fvbock/endless\n\ngo 1.21\n", None),
            ("require github.com/fvbock/endless v0.0.0 // indirect", None),
            ("// require github.com/fvbock/endless v0.0.0", None),
            (
                "replace (\n\tgithub.com/fvbock/endless => ../endless\n)\n",
                None,
            ),
            ("exclude github.com/fvbock/endless v0.0.1", None),
            (
                "replace (\n\ta => b\n)\nrequire (\n\tgithub.com/x/y v1.0.0\n\tgithub.com/fvbock/endless v0.0.0\n)",
                Some("endless"),
            ),
            ("require (", None),
            ("require", None),
            ("", None),
        ] {
            assert_eq!(suggested(go_mod), preset, "{go_mod}");
        }
    }
}
